//! larder's integration tests: one binary, a module per story, a mock site per dialect.

mod site;
