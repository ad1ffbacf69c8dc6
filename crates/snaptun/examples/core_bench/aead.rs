//! Bare ChaCha20-Poly1305 on one core: the cryptography under `Tunn`, called as `Tunn` calls it.

use std::time::Instant;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::{
    task::{Failure, Task, Value, say},
    traffic::Source,
};

const TAG: usize = 16;
/// Packets between two looks at the clock.
const BATCH: usize = 256;

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Seals, or opens, packets in place for some seconds. The content is copied in for each packet: one who seals has to put
/// it somewhere, and one who opens finds it where the kernel copied it to.
pub(crate) fn measure(task: &Task) -> Result<(), Failure> {
    let size: usize = task.parsed("size")?;
    let length = task.seconds()?;
    let opens = task.text("workload")? == "download";
    let failed = |_| "the cryptography refused";
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).map_err(failed)?);
    let mut source = Source::new(size, 1, 1)?;
    let plain = source.fill(0).bytes().to_vec();
    let mut sealed = plain.clone();
    let tag =
        key.seal_in_place_separate_tag(nonce(0), Aad::empty(), &mut sealed).map_err(failed)?;
    sealed.extend_from_slice(tag.as_ref());
    let mut buffer = vec![0; size + TAG];
    let mut packets = 0;
    let start = Instant::now();
    while start.elapsed() < length {
        for _ in 0..BATCH {
            if opens {
                buffer.copy_from_slice(&sealed);
                key.open_in_place(nonce(0), Aad::empty(), &mut buffer).map_err(failed)?;
            } else {
                let (body, tag) = buffer.split_at_mut(size);
                body.copy_from_slice(&plain);
                let made = key.seal_in_place_separate_tag(nonce(packets), Aad::empty(), body);
                tag.copy_from_slice(made.map_err(failed)?.as_ref());
            }
            packets += 1;
        }
    }
    say([
        ("packets", Value::Number(packets as f64)),
        ("bytes", Value::Number(packets as f64 * size as f64)),
        ("seconds", Value::Number(start.elapsed().as_secs_f64())),
        ("lost", Value::Number(0.0)),
    ])
}
