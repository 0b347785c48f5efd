"""Clusters: how one starts and ends, how a command reaches it as a job, and whether its nodes are well."""
