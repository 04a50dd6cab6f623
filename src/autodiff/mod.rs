//! Symbolic reverse-mode differentiation, graph to graph.
