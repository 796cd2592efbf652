//! Messages of D-Bus, as far as systemd is spoken to (D-Bus specification, "Message Protocol"). Little endian only: a
//! bus passes messages on as they are, so what systemd sends on the same machine is in the machine's own order.

/// A value of a unit's property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// `s`
    Text(String),
    /// `b`
    Bool(bool),
    /// `t`
    U64(u64),
    /// `au`
    U32s(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
}

/// A property with its name.
pub(crate) type Property = (&'static str, Value);

/// What a call is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method {
    pub(crate) destination: &'static str,
    pub(crate) path: &'static str,
    pub(crate) interface: &'static str,
    pub(crate) member: &'static str,
    pub(crate) signature: &'static str,
}

/// The longest message that is read; systemd's answers are far shorter.
const LONGEST: usize = 1 << 20;

const METHOD_CALL: u8 = 1;
/// The answer to a call.
pub(crate) const METHOD_RETURN: u8 = 2;
/// The refusal of a call.
pub(crate) const ERROR: u8 = 3;
/// A signal.
pub(crate) const SIGNAL: u8 = 4;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// The bytes of a message, or of its body.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    fn pad(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, value: u32) {
        self.pad(4);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A string, or an object path.
    pub(crate) fn text(&mut self, text: &str) {
        self.u32(length(text.len()));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    /// `b`
    pub(crate) fn bool(&mut self, value: bool) {
        self.u32(value.into());
    }

    fn signature(&mut self, signature: &str) {
        self.0.push(u8::try_from(signature.len()).unwrap_or_default());
        self.0.extend_from_slice(signature.as_bytes());
        self.0.push(0);
    }

    /// An array of elements that begin at multiples of `align`. Its length is known when they have been written.
    fn array(&mut self, align: usize, elements: impl FnOnce(&mut Self)) {
        self.u32(0);
        let at = self.0.len() - 4;
        self.pad(align);
        let begin = self.0.len();
        elements(self);
        let written = length(self.0.len() - begin);
        if let Some(place) = self.0.get_mut(at..at + 4) {
            place.copy_from_slice(&written.to_le_bytes());
        }
    }

    /// `a(sv)`
    pub(crate) fn properties(&mut self, properties: &[Property]) {
        self.array(8, |writer| {
            for (name, value) in properties {
                writer.pad(8);
                writer.text(name);
                writer.variant(value);
            }
        });
    }

    /// `a(sa(sv))` without elements: there are no units beside the one that is started.
    pub(crate) fn no_units(&mut self) {
        self.array(8, |_| {});
    }

    fn variant(&mut self, value: &Value) {
        match value {
            Value::Text(text) => {
                self.signature("s");
                self.text(text);
            }
            Value::Bool(value) => {
                self.signature("b");
                self.bool(*value);
            }
            Value::U64(value) => {
                self.signature("t");
                self.pad(8);
                self.0.extend_from_slice(&value.to_le_bytes());
            }
            Value::U32s(values) => {
                self.signature("au");
                self.array(4, |writer| values.iter().for_each(|value| writer.u32(*value)));
            }
            Value::Bytes(bytes) => {
                self.signature("ay");
                self.array(1, |writer| writer.0.extend_from_slice(bytes));
            }
            Value::Pairs(pairs) => {
                self.signature("a(ss)");
                self.array(8, |writer| {
                    for (first, second) in pairs {
                        writer.pad(8);
                        writer.text(first);
                        writer.text(second);
                    }
                });
            }
        }
    }

    fn field(&mut self, code: u8, signature: &str, text: &str) {
        self.pad(8);
        self.0.push(code);
        self.signature(signature);
        match signature {
            "g" => self.signature(text),
            _ => self.text(text),
        }
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A method call as it goes over the wire.
pub(crate) fn call(serial: u32, method: &Method, body: Writer) -> Vec<u8> {
    let mut message = Writer(vec![b'l', METHOD_CALL, 0, 1]);
    message.u32(length(body.0.len()));
    message.u32(serial);
    message.array(8, |fields| {
        fields.field(PATH, "o", method.path);
        fields.field(INTERFACE, "s", method.interface);
        fields.field(MEMBER, "s", method.member);
        fields.field(DESTINATION, "s", method.destination);
        if !method.signature.is_empty() {
            fields.field(SIGNATURE, "g", method.signature);
        }
    });
    message.pad(8);
    message.0.extend_from_slice(&body.0);
    message.0
}

/// A message that has come, with what is looked at of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) reply_to: u32,
    pub(crate) member: String,
    pub(crate) error: String,
    /// The strings, object paths and numbers that the body begins with.
    pub(crate) body: Vec<String>,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.u32()?).ok()?;
        let text = self.take(length.checked_add(1)?)?;
        Some(String::from_utf8_lossy(text.get(..length)?).into_owned())
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        let text = self.take(length + 1)?;
        Some(String::from_utf8_lossy(text.get(..length)?).into_owned())
    }

    /// One value of a simple type in words; `None` for what nobody here asks for.
    fn value(&mut self, kind: char) -> Option<String> {
        match kind {
            's' | 'o' => self.text(),
            'g' => self.signature(),
            'u' => Some(self.u32()?.to_string()),
            _ => None,
        }
    }
}

/// How many bytes the message has that begins with these 16; `None` for what is no message that can be read here.
pub(crate) fn size(head: &[u8; 16]) -> Option<usize> {
    let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?) as usize);
    let (body, fields) = (number(4)?, number(12)?);
    let size = (16_usize).checked_add(fields)?.next_multiple_of(8).checked_add(body)?;
    (head.first() == Some(&b'l') && body <= LONGEST && fields <= LONGEST).then_some(size)
}

/// Reads a whole message.
pub(crate) fn parse(bytes: &[u8]) -> Option<Message> {
    let mut message = Message { kind: *bytes.get(1)?, ..Message::default() };
    let mut reader = Reader { bytes, at: 12 };
    let end = usize::try_from(reader.u32()?).ok()?.checked_add(16)?;
    let mut signature = String::new();
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        let kind = reader.signature()?;
        let value = reader.value(kind.chars().next()?)?;
        match code {
            MEMBER => message.member = value,
            ERROR_NAME => message.error = value,
            REPLY_SERIAL => message.reply_to = value.parse().ok()?,
            SIGNATURE => signature = value,
            _ => {}
        }
    }
    reader.align(8);
    message.body = signature.chars().map_while(|kind| reader.value(kind)).collect();
    Some(message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const METHOD: Method =
        Method { destination: "d", path: "/p", interface: "i", member: "Member", signature: "ssa(sv)a(sa(sv))" };

    #[test]
    fn a_call_is_read_as_it_was_written() {
        let mut body = Writer::default();
        body.text("x.scope");
        body.text("replace");
        body.properties(&[
            ("PIDs", Value::U32s(vec![7])),
            ("Delegate", Value::Bool(true)),
            ("MemoryMax", Value::U64(1 << 40)),
            ("AllowedCPUs", Value::Bytes(vec![3])),
            ("DeviceAllow", Value::Pairs(vec![("/dev/char/1:3".into(), "rwm".into())])),
        ]);
        body.no_units();
        let bytes = call(9, &METHOD, body);
        assert_eq!(size(bytes.first_chunk().unwrap()), Some(bytes.len()));
        let message = parse(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (METHOD_CALL, "Member"));
        assert_eq!(message.body, ["x.scope", "replace"]);
    }

    #[test]
    fn a_property_has_the_bytes_of_the_specification() {
        let mut body = Writer::default();
        body.properties(&[("A", Value::Bool(true))]);
        let expected = [16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'A', 0, 1, b'b', 0, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(body.0, expected);
    }

    proptest! {
        #[test]
        fn what_is_no_message_is_told_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(head) = bytes.first_chunk() {
                let _ = size(head);
            }
            let _ = parse(&bytes);
        }
    }
}
