//! What the kernel does with a filter: it checks the program and runs it over a call.

use loment_sys::seccomp::Instruction;

// AUDIT_ARCH_* (linux/audit.h)
pub(crate) const X86_64: u32 = 0xc000_003e;
pub(crate) const I386: u32 = 0x4000_0003;
pub(crate) const AARCH64: u32 = 0xc000_00b7;
pub(crate) const ARM: u32 = 0x4000_0028;

/// What a filter sees of a call: `struct seccomp_data`, without the instruction pointer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) number: u32,
    pub(crate) architecture: u32,
    pub(crate) arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            16..64 => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                (if offset % 8 == 4 { argument >> 32 } else { argument }) as u32
            }
            _ => panic!("load from {offset}"),
        }
    }
}

/// Runs a program over a call. Panics where the kernel would not have taken the program.
pub(crate) fn run(program: &[Instruction], call: &Call) -> u32 {
    assert!((1..=4096).contains(&program.len()));
    let (mut at, mut accumulator) = (0usize, 0u32);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => {
                assert_eq!(k % 4, 0);
                accumulator = call.word(k);
            }
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x35 => at += jump(accumulator >= k),
            0x45 => at += jump(accumulator & k != 0),
            0x06 => return k,
            _ => panic!("instruction {code:#x}"),
        }
    }
}

/// Checks all of a program, reached or not: jumps land inside, the last instruction returns.
pub(crate) fn check(program: &[Instruction]) {
    assert_eq!(program.last().map(|last| last.code), Some(0x06));
    for (at, Instruction { code, jt, jf, k }) in program.iter().enumerate() {
        let farthest = match code {
            0x05 => *k as usize,
            0x15 | 0x25 | 0x35 => usize::from(*jt.max(jf)),
            0x20 | 0x54 | 0x06 => 0,
            _ => panic!("instruction {code:#x}"),
        };
        assert!(at + 1 + farthest < program.len() || *code == 0x06, "jump out of the program at {at}");
    }
}

/// The instructions that libseccomp exports as bytes.
pub(crate) fn parse(bytes: &[u8]) -> Vec<Instruction> {
    let instruction = |bytes: &[u8]| Instruction {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    bytes.chunks_exact(8).map(instruction).collect()
}
