//! Container logs in CRI's format: `<time> <stream> <F|P> <text>`, where P says that the line goes on.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::logs::lives::Window;

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) time: String,
    /// What was written, with its newline if the line ends here.
    pub(crate) text: Vec<u8>,
}

impl Line {
    pub(crate) fn is_complete(&self) -> bool {
        self.text.last() == Some(&b'\n')
    }

    pub(crate) fn is_in(&self, window: &Window) -> bool {
        *window == Window::default() || self.time.parse().is_ok_and(|time: Timestamp| window.holds(time))
    }
}

/// Reads a log that may still be written to.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    file: R,
    /// The beginning of an entry whose end has not been written yet.
    begun: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(file: R) -> Self {
        Reader { file, begun: Vec::new() }
    }

    /// The next entry; nothing at the end, which may be later than now.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            self.file.read_until(b'\n', &mut self.begun)?;
            if self.begun.last() != Some(&b'\n') {
                return Ok(None);
            }
            if let Some(line) = parse(&std::mem::take(&mut self.begun)) {
                return Ok(Some(line));
            }
        }
    }

    /// What is there now of a time, or only its last lines.
    pub(crate) fn last(&mut self, lines: Option<usize>, window: &Window) -> io::Result<Vec<Line>> {
        let mut kept: VecDeque<Line> = VecDeque::new();
        let mut complete = 0;
        while let Some(line) = self.next()? {
            if !line.is_in(window) {
                continue;
            }
            complete += usize::from(line.is_complete());
            kept.push_back(line);
            // An unfinished last line counts as one.
            let open = |kept: &VecDeque<Line>| usize::from(kept.back().is_some_and(|line| !line.is_complete()));
            while lines.is_some_and(|lines| complete + open(&kept) > lines) {
                match kept.pop_front() {
                    Some(line) => complete -= usize::from(line.is_complete()),
                    None => break,
                }
            }
        }
        Ok(kept.into())
    }
}

/// A log on the disk, which may be written to, moved away and begun anew, or emptied.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    inode: u64,
    reader: Reader<BufReader<File>>,
}

impl LogFile {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self { path: path.to_owned(), inode, reader: Reader::new(BufReader::new(file)) })
    }

    pub(crate) fn reader(&mut self) -> &mut Reader<BufReader<File>> {
        &mut self.reader
    }

    /// At the end of the log: goes on with the one that has been begun in its place, or from the beginning of one that
    /// has been emptied. Whether there was such a one.
    pub(crate) fn renew(&mut self) -> io::Result<bool> {
        // While it is moved away there is none for a moment.
        let Ok(now) = fs::metadata(&self.path) else { return Ok(false) };
        if now.ino() != self.inode {
            *self = Self::open(&self.path)?;
            return Ok(true);
        }
        let file = &mut self.reader.file;
        if now.len() >= file.stream_position()? {
            return Ok(false);
        }
        file.rewind()?;
        self.reader.begun.clear();
        Ok(true)
    }
}

fn parse(entry: &[u8]) -> Option<Line> {
    let mut parts = entry.splitn(4, |byte| *byte == b' ');
    let time = String::from_utf8(parts.next()?.to_vec()).ok()?;
    let _stream = parts.next()?;
    let tags = parts.next()?;
    let mut text = parts.next()?.to_vec();
    if tags.split(|byte| *byte == b':').next() == Some(b"P") {
        text.pop();
    }
    Some(Line { time, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-05-01T10:00:00.000000001Z stdout F one\n2026-05-01T10:00:01Z stderr P two \
                       \n2026-05-01T10:00:02Z stdout F halves\nnonsense\n2026-05-01T10:00:03Z stdout F  three\n\
                       2026-05-01T10:00:04Z stdout F begu";

    fn text(lines: &[Line]) -> String {
        lines.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
    }

    fn last(lines: Option<usize>, window: &Window) -> String {
        text(&Reader::new(LOG.as_bytes()).last(lines, window).unwrap())
    }

    #[test]
    fn partial_entries_make_one_line_and_blanks_are_kept() {
        assert_eq!(last(None, &Window::default()), "one\ntwo halves\n three\n");
    }

    #[test]
    fn the_last_lines_are_whole_lines() {
        assert_eq!(last(Some(1), &Window::default()), " three\n");
        assert_eq!(last(Some(2), &Window::default()), "two halves\n three\n");
        assert_eq!(last(Some(0), &Window::default()), "");
        assert_eq!(last(Some(9), &Window::default()), "one\ntwo halves\n three\n");
    }

    #[test]
    fn lines_of_another_time_are_left_out() {
        let window = Window { from: "2026-05-01T10:00:01Z".parse().ok(), until: "2026-05-01T10:00:03Z".parse().ok() };
        assert_eq!(last(None, &window), "two halves\n");
    }

    #[test]
    fn a_log_that_is_moved_away_or_emptied_goes_on() {
        let path = std::env::temp_dir().join(format!("loment-log-{}", std::process::id()));
        let moved = path.with_extension("moved");
        let line = |text: &str| format!("2026-05-01T10:00:00Z stdout F {text}\n");
        fs::write(&path, line("first")).unwrap();
        let mut log = LogFile::open(&path).unwrap();
        let next = |log: &mut LogFile| log.reader().next().unwrap().map(|line| text(&[line]));
        assert_eq!(next(&mut log).as_deref(), Some("first\n"));
        assert!(!log.renew().unwrap());
        fs::rename(&path, &moved).unwrap();
        assert!(!log.renew().unwrap(), "there is none");
        fs::write(&path, line("second") + &line("third")).unwrap();
        assert!(log.renew().unwrap());
        assert_eq!((next(&mut log).as_deref(), next(&mut log).as_deref()), (Some("second\n"), Some("third\n")));
        assert_eq!(next(&mut log), None);
        fs::write(&path, line("4")).unwrap();
        assert!(log.renew().unwrap());
        assert_eq!(next(&mut log).as_deref(), Some("4\n"));
        fs::remove_file(&path).unwrap();
        fs::remove_file(&moved).unwrap();
    }

    #[test]
    fn an_entry_that_is_still_being_written_is_waited_for() {
        let mut reader = Reader::new(LOG.as_bytes());
        reader.last(None, &Window::default()).unwrap();
        assert_eq!(reader.next().unwrap(), None);
        let mut reader = Reader { file: &b"n\n"[..], begun: reader.begun };
        assert_eq!(text(&[reader.next().unwrap().unwrap()]), "begun\n");
    }
}
