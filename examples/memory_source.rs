//! A source of one's own, in memory: here a program that reports on itself, and asks its own daemon for the XML.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use gmetad_core::model::UnixTime;
use gmetad_core::source::{Source, Stop};
use gmetad_core::{Gmetad, GmondReader, PollError, ReaderOptions, SourceSnapshot};

/// Says how often it was asked.
struct Myself {
    reader: GmondReader,
    asked: u32,
}

impl Source for Myself {
    fn poll(&mut self, now: UnixTime, _stop: &Stop) -> Result<SourceSnapshot, PollError> {
        self.asked += 1;
        // Ganglia's own format is the way in; nothing goes over a network.
        let document = format!(
            r#"<GANGLIA_XML VERSION="3.7.2" SOURCE="me"><CLUSTER NAME="programs" LOCALTIME="{now}">
               <HOST NAME="myself" IP="127.0.0.1" REPORTED="{now}" TN="0" TMAX="20" DMAX="0">
               <METRIC NAME="asked" VAL="{}" TYPE="uint32" UNITS="times" TN="0" TMAX="60" DMAX="0" SLOPE="positive"/>
               </HOST></CLUSTER></GANGLIA_XML>"#,
            self.asked
        );
        self.reader.read_document(document.as_bytes(), now).map_err(|error| PollError::Other(error.to_string()))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (builder, polls) = Gmetad::builder()
        .grid("Example", "")
        .custom_source("myself", Duration::from_secs(1), || Myself {
            reader: GmondReader::new(Vec::new(), ReaderOptions::default()),
            asked: 0,
        })
        .interactive("127.0.0.1:0".parse()?)
        .subscribe(1);
    let gmetad = builder.start()?;

    polls.recv_timeout(Duration::from_secs(10))?;
    let mut stream = TcpStream::connect(gmetad.port("interactive_port").ok_or("not bound")?)?;
    stream.write_all(b"/programs/myself/asked\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    println!("{}", answer.split_once("]>\n").map_or(&*answer, |(_prolog, document)| document));

    gmetad.stop(Duration::from_secs(5)).map_err(|left| format!("still running: {left:?}"))?;
    Ok(())
}
