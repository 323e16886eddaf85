//! The REST admin API: types, routes, problem+json, the OpenAPI document.
