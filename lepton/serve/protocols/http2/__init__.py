"""HTTP/2 as gRPC uses it, within a front: one connection, its streams, and the header blocks between them."""
