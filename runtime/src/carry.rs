//! The state that one piece of a sequence leaves for the next: named tensors, or the representation of a device.

use crate::session::Tensors;
use std::any::Any;
use std::borrow::Cow;
use std::fmt;

/// State carried from one piece of a sequence to the next, made by any session of the same graph on any device.
///
/// It consists of named tensors, so that it can be saved: scan states, the last tokens of windows, the tokens still
/// visible to attends (with the names of [`archc_compiler::lower::carried`]), and `pos`. A session may keep it in its own
/// representation from one piece to the next; it is converted to tensors only when they are requested or another device reads it. A session
/// rounds the numbers of a carry to its arithmetic; sums of two f32 parts keep both.
#[derive(Default)]
pub struct Carry(Form);

enum Form {
    Named(Tensors),
    Device(Box<dyn DeviceCarry>),
}

impl Default for Form {
    fn default() -> Self {
        Self::Named(Tensors::new())
    }
}

/// A carry in the representation of a device.
pub trait DeviceCarry: Any + Send + Sync {
    /// The same carry as named tensors, as any device of the same graph reads it.
    fn tensors(&self) -> Tensors;

    /// An independent copy.
    fn duplicate(&self) -> Box<dyn DeviceCarry>;
}

impl Carry {
    /// A carry in the representation of a device.
    pub fn on_device(carry: impl DeviceCarry) -> Self {
        Self(Form::Device(Box::new(carry)))
    }

    /// The named tensors: `pos` `[B]`, the others `[B, (tokens), axes]`. Tokens are aligned at their ends: the last entry is the last token.
    /// They are converted at each call if the carry is on a device.
    pub fn tensors(&self) -> Cow<'_, Tensors> {
        match &self.0 {
            Form::Named(tensors) => Cow::Borrowed(tensors),
            Form::Device(carry) => Cow::Owned(carry.tensors()),
        }
    }

    /// The carry in a device's representation, if it has this one.
    pub fn device<C: DeviceCarry>(&self) -> Option<&C> {
        match &self.0 {
            Form::Named(_) => None,
            Form::Device(carry) => (carry.as_ref() as &dyn Any).downcast_ref(),
        }
    }

    /// Takes out the carry in a device's representation.
    ///
    /// # Errors
    /// The carry itself, if it has another representation.
    pub fn into_device<C: DeviceCarry>(self) -> Result<C, Self> {
        match self.0 {
            Form::Device(carry) if (carry.as_ref() as &dyn Any).is::<C>() => {
                let any: Box<dyn Any> = carry;
                Ok(*any.downcast().expect("archc bug: the type was just checked"))
            }
            other => Err(Self(other)),
        }
    }
}

impl From<Tensors> for Carry {
    fn from(tensors: Tensors) -> Self {
        Self(Form::Named(tensors))
    }
}

impl Clone for Carry {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Form::Named(tensors) => Form::Named(tensors.clone()),
            Form::Device(carry) => Form::Device(carry.duplicate()),
        })
    }
}

/// Carries are equal if their tensors are, in whatever representation.
impl PartialEq for Carry {
    fn eq(&self, other: &Self) -> bool {
        self.tensors() == other.tensors()
    }
}

impl fmt::Debug for Carry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Carry").field(&self.tensors()).finish()
    }
}
