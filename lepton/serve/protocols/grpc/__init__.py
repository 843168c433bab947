"""gRPC on the port that speaks HTTP/1.1: HTTP/2 connections are served by the front itself."""
