//! Reports as HTML pages that need nothing but themselves: markup in which every text is escaped, drawings, one style sheet (light and
//! dark). Knows nothing of what it shows.

mod html;
mod plane;

pub use html::{Page, big};
pub use plane::{Plane, Shape, range, round};
