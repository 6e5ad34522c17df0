//! Networks that we define ourselves, on tch.
