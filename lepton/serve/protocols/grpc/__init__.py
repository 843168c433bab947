"""gRPC on the port that speaks HTTP/1.1: HTTP/2 connections are handed to a gRPC server within the front."""
