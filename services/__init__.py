"""The platform's services; none imports another: they meet over HTTP, the queue and the store."""
