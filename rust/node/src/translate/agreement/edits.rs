//! Edits of an encoded message that keep it a message, or nearly: fields that occur twice, in another order, under other
//! numbers, with other wire types or longer numbers than needed, unknown fields, broken texts, merged messages.

/// A field, whose parts may be longer than needed or contradict each other.
#[derive(Clone, Debug)]
struct Field {
    key: u64,
    /// Bytes by which the key and the number after it are longer than needed.
    longer: [usize; 2],
    value: Part,
}

#[derive(Clone, Debug)]
enum Part {
    Number(u64),
    /// Length-delimited bytes.
    Bytes(Vec<u8>),
    /// Length-delimited bytes that look like a message.
    Message(Vec<Field>),
    /// Bytes as they are.
    Plain(Vec<u8>),
}

const EDGES: [u64; 8] = [0, 1, 0x7f, 0x80, 1 << 31, 1 << 53, 1 << 63, u64::MAX];

/// The message with edits that follow from the choices.
pub(super) fn edited(message: &[u8], choices: &[u8]) -> Vec<u8> {
    let mut choices = Choices(choices.iter());
    let mut fields = parsed(message).unwrap_or_default();
    for _ in 0..=choices.below(4) {
        edit(&mut fields, &mut choices);
    }
    let mut bytes = encoded(&fields);
    match choices.below(6) {
        0 => bytes.truncate(choices.below(bytes.len() + 1)),
        1 if !bytes.is_empty() => {
            let at = choices.below(bytes.len());
            bytes[at] = bytes[at].wrapping_add(choices.below(256) as u8);
        }
        _ => {}
    }
    bytes
}

/// Numbers that follow from bytes; 0 at their end.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, limit: usize) -> usize {
        let mut byte = || usize::from(self.0.next().copied().unwrap_or_default());
        let number = if limit > 256 { byte() << 8 | byte() } else { byte() };
        number % limit.max(1)
    }
}

fn edit(fields: &mut Vec<Field>, choices: &mut Choices<'_>) {
    let at = choices.below(fields.len());
    match fields.get_mut(at).map(|field| &mut field.value) {
        Some(Part::Message(inner)) if choices.below(5) > 0 => edit(inner, choices),
        Some(_) => edit_here(fields, at, choices),
        None => fields.push(unknown(choices)),
    }
}

fn edit_here(fields: &mut Vec<Field>, at: usize, choices: &mut Choices<'_>) {
    let to = choices.below(fields.len() + 1);
    let last = fields.len() - 1;
    match choices.below(10) {
        0 => fields.insert(to, fields[at].clone()),
        1 => fields.swap(at, to.min(last)),
        2 => fields.insert(to, unknown(choices)),
        3 => fields[at].longer[choices.below(2)] = 1 + choices.below(10),
        4 => fields[at].key ^= 1 << choices.below(8),
        5 => drop(fields.remove(at)),
        6 => split(fields, at, choices),
        _ => match &mut fields[at].value {
            Part::Number(number) => *number = EDGES[choices.below(EDGES.len())],
            Part::Bytes(bytes) => bytes.push([0xff, 0, 0xc3, b'x'][choices.below(4)]),
            Part::Message(_) => fields[at].value = Part::Bytes(vec![choices.below(256) as u8]),
            Part::Plain(bytes) => bytes.push(0),
        },
    }
}

/// A message in two pieces, which decoders merge; twice the same for anything else.
fn split(fields: &mut Vec<Field>, at: usize, choices: &mut Choices<'_>) {
    let mut second = fields[at].clone();
    if let (Part::Message(one), Part::Message(other)) = (&mut fields[at].value, &mut second.value) {
        let place = choices.below(one.len() + 1);
        one.truncate(place);
        other.drain(..place);
    }
    fields.insert(at + 1, second);
}

/// A field that no message has.
fn unknown(choices: &mut Choices<'_>) -> Field {
    let (key, value) = match choices.below(8) {
        0 => (15 << 3, Part::Number(EDGES[choices.below(EDGES.len())])),
        1 => (16 << 3, Part::Number(1)),
        2 => (14 << 3 | 1, Part::Plain(vec![0; 8])),
        3 => (14 << 3 | 5, Part::Plain(vec![0; 4])),
        4 => (14 << 3 | 2, Part::Bytes(vec![0xff, 1])),
        5 => (14 << 3 | 3, Part::Plain(vec![8, 1, 14 << 3 | 4])),
        6 => (14 << 3 | 4, Part::Plain(Vec::new())),
        _ => (0, Part::Number(0)),
    };
    Field { key, longer: [0; 2], value }
}

/// The fields of bytes that are a message of numbers, texts and messages.
fn parsed(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let number = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Part::Number(number),
            2 => {
                let (value, rest) = bytes.split_at_checked(usize::try_from(number).ok()?)?;
                bytes = rest;
                let message = parsed(value).filter(|fields| !fields.is_empty());
                message.map_or_else(|| Part::Bytes(value.into()), Part::Message)
            }
            _ => return None,
        };
        fields.push(Field { key, longer: [0; 2], value });
    }
    Some(fields)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for place in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if *byte < 0x80 {
            return Some(number);
        }
    }
    *bytes = bytes.split_first()?.1;
    Some(number | 1 << 63)
}

fn encoded(fields: &[Field]) -> Vec<u8> {
    let mut to = Vec::new();
    for field in fields {
        put(&mut to, field.key, field.longer[0]);
        let bytes = match &field.value {
            Part::Number(number) => {
                put(&mut to, *number, field.longer[1]);
                continue;
            }
            Part::Plain(bytes) => {
                to.extend(bytes);
                continue;
            }
            Part::Bytes(bytes) => bytes.clone(),
            Part::Message(fields) => encoded(fields),
        };
        put(&mut to, bytes.len() as u64, field.longer[1]);
        to.extend(bytes);
    }
    to
}

/// Appends a number that takes `longer` bytes more than it needs.
fn put(to: &mut Vec<u8>, mut number: u64, longer: usize) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
    for _ in 0..longer {
        *to.last_mut().expect("just pushed") |= 0x80;
        to.push(0);
    }
}
