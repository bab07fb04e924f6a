//! Reports as self-contained HTML pages: markup in which every text is escaped, drawings, one style sheet (light and dark).
//! Independent of the reports' contents.

mod html;
mod plane;

pub use html::{Page, big};
pub use plane::{Plane, Shape, range, round};
