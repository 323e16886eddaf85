//! Lists come in pages: at most `limit` items, and a cursor when there are more.

/// Items of a page when `limit` is not given: 100.
pub const DEFAULT_LIMIT: u32 = 100;

/// Most items of a page: 500.
pub const MAX_LIMIT: u32 = 500;

/// What all pages have in common, for clients that follow them.
pub trait Page {
    /// What is listed.
    type Item;

    /// Takes the page apart: its items, and the cursor of the next page if there is one.
    fn into_parts(self) -> (Vec<Self::Item>, Option<String>);

    /// Puts a page together.
    fn from_parts(items: Vec<Self::Item>, next: Option<String>) -> Self;
}

macro_rules! page {
    ($page:ident of $item:ident, $what:literal) => {
        #[doc = concat!("One page of ", $what, ".")]
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub struct $page {
            /// The items, in the order of the list.
            pub items: Vec<$item>,
            /// Give it as `cursor` to get the next page; missing on the last one.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(nullable = false)]
            pub next: Option<String>,
        }

        impl $crate::types::Page for $page {
            type Item = $item;

            fn into_parts(self) -> (Vec<$item>, Option<String>) {
                (self.items, self.next)
            }

            fn from_parts(items: Vec<$item>, next: Option<String>) -> Self {
                Self { items, next }
            }
        }
    };
}
pub(crate) use page;
