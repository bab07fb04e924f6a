//! Lines that a rotation adds to a derivation: the frame of the chunk, and the gradient of the angles.

use super::derive::{Line, sub};
use super::form::{Form, Sight};

/// Names of a form's queries and keys, with a subscript if there are several, and the row up to which each is rotated.
fn vectors(form: &Form) -> Vec<(String, String, &'static str, &'static str)> {
    let last = |sight: &Sight| if sight.before { ("Th_{i-1}", "\\Theta_{i-1}") } else { ("Th_i", "\\Theta_i") };
    let mut all = Vec::new();
    for (r, read) in form.reads.iter().enumerate() {
        let ((text, latex), (row, tex_row)) = (sub(form.reads.len(), r), last(&read.sight));
        all.push((format!("q{text}_i"), format!("q{latex}_i"), row, tex_row));
    }
    for e in 0..form.events.len() {
        let (text, latex) = sub(form.events.len(), e);
        all.push((format!("b{text}_j"), format!("b{latex}_j"), "Th_j", "\\Theta_j"));
    }
    all
}

/// Vectors, or with `d` their gradients, rotated by their angles or with `-` back.
fn turned(form: &Form, d: &'static str, way: &'static str) -> impl Iterator<Item = Line> {
    vectors(form).into_iter().map(move |(text, latex, row, tex_row)| {
        (
            format!("{d}{text} <- Rot({way}{row}) {d}{text}"),
            format!("{d}{latex} &\\leftarrow \\operatorname{{Rot}}({way}{tex_row})\\, {d}{latex}"),
        )
    })
}

/// Rotation into the frame of the chunk's entry, before the chunk's other equations.
pub(super) fn frame_lines(form: &Form) -> Vec<Line> {
    if form.rotation.is_none() {
        return Vec::new();
    }
    let mut lines = vec![
        (
            "Th_i = th_1 + .. + th_i, Th_0 = 0; Rot(x) (re, im) = (cos(x) re - sin(x) im, sin(x) re + cos(x) im)".into(),
            "\\Theta_i &= \\textstyle\\sum_{l \\le i} \\theta_l, \\quad \\Theta_0 = 0, \\quad \\operatorname{Rot}(x) = \
             \\begin{pmatrix} \\cos x & -\\sin x \\\\ \\sin x & \\cos x \\end{pmatrix}"
                .into(),
        ),
        ("in the frame of the entry:".into(), "&\\text{in the frame of the entry:}".into()),
    ];
    lines.extend(turned(form, "", "-"));
    lines
}

/// Gradient of the angles, after the gradients of keys and queries in the frame and their rotation out of it.
pub(super) fn gradient_lines(form: &Form) -> Vec<Line> {
    if form.rotation.is_none() {
        return Vec::new();
    }
    let (mut text, mut latex) = (Vec::new(), Vec::new());
    for (name, tex, ..) in vectors(form) {
        let (name, tex) = (name.replace("_j", "_i"), tex.replace("_j", "_i"));
        text.push(format!("{name} x d{name}"));
        latex.push(format!("{tex} \\times d{tex}"));
    }
    let mut lines = vec![
        (
            format!(
                "dTh_i = -({}), x x y = x_re y_im - x_im y_re   (a read before the rotation counts for row i-1)",
                text.join(" + ")
            ),
            format!(
                "d\\Theta_i &= -\\left({}\\right), \\quad x \\times y = x_{{\\mathrm{{re}}}} y_{{\\mathrm{{im}}}} - \
                 x_{{\\mathrm{{im}}}} y_{{\\mathrm{{re}}}}",
                latex.join(" + ")
            ),
        ),
        (
            "  at row C also sum over V of S' x dS'".into(),
            "d\\Theta_C &\\mathrel{+}= \\textstyle\\sum_V S' \\times dS'".into(),
        ),
        ("dth = reverse running sum of dTh".into(), "d\\theta_l &= \\textstyle\\sum_{i \\ge l} d\\Theta_i".into()),
    ];
    lines.extend(turned(form, "d", ""));
    lines
}
