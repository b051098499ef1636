"""Access: who asks, what they may do, how often, and under which name of this server."""
