//! Signed permission: forms, policy documents, signatures, evaluation.
