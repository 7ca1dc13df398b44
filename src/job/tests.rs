//! Wrong job files and the exact words with which they are refused.
