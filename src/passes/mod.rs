//! Optimizations, one pass a file, graph to graph.
