//! Files made by hand, valid and otherwise.

/// 0, 0.5, 1, …: what `fixtures/make_pth.py` fills its tensors with.
pub(crate) fn ramp(len: u16) -> Vec<f32> {
    (0..len).map(|index| f32::from(index) / 2.0).collect()
}

/// A safetensors file of this header and these data.
pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// Where sizes and offsets stand: files beyond 4 GB need the 64-bit fields.
#[derive(Clone, Copy, Default, PartialEq)]
enum Fields {
    #[default]
    Bits32,
    Bits64,
}

/// Writes zips as plainly as the format allows, lies on request.
#[derive(Default)]
pub(crate) struct StoredZip {
    entries: Vec<(String, Vec<u8>)>,
    method: u16,
    offsets: Option<u32>,
    fields: Fields,
}

impl StoredZip {
    pub(crate) fn entry(mut self, name: &str, data: &[u8]) -> Self {
        self.entries.push((name.to_owned(), data.to_owned()));
        self
    }

    /// Claims that all entries are compressed by this method.
    pub(crate) fn with_method(mut self, method: u16) -> Self {
        self.method = method;
        self
    }

    /// Claims that all entries begin here.
    pub(crate) fn with_offsets(mut self, offset: u32) -> Self {
        self.offsets = Some(offset);
        self
    }

    /// Writes all sizes and offsets as files beyond 4 GB must.
    pub(crate) fn with_zip64(mut self) -> Self {
        self.fields = Fields::Bits64;
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let wide = self.fields == Fields::Bits64;
        let narrow =
            |value: usize| if wide { [0xFF; 4] } else { u32::try_from(value).unwrap().to_le_bytes() };
        let (mut file, mut directory) = (Vec::new(), Vec::new());
        for (name, data) in &self.entries {
            let offset = self.offsets.map_or(file.len(), |offset| offset as usize);
            let (len, name_len) = (narrow(data.len()), u16::try_from(name.len()).unwrap().to_le_bytes());
            let sizes = [data.len(), data.len(), offset].map(|value| (value as u64).to_le_bytes()).concat();
            let extra = if wide { [b"\x01\0\x18\0", &sizes[..]].concat() } else { Vec::new() };
            let extra_len = u16::try_from(extra.len()).unwrap().to_le_bytes();
            let common =
                [&[20, 0, 0, 0][..], &self.method.to_le_bytes(), &[0; 8], &len, &len, &name_len, &extra_len]
                    .concat();
            file.extend([b"PK\x03\x04", &common[..], name.as_bytes(), &extra, data].concat());
            let tail = [&[0; 10][..], &narrow(offset), name.as_bytes(), &extra].concat();
            directory.extend([b"PK\x01\x02\x14\0", &common[..], &tail].concat());
        }
        let (start, len, count) = (file.len(), directory.len(), self.entries.len());
        file.extend(directory);
        if wide {
            let end = file.len() as u64;
            let numbers = [count, count, len, start].map(|value| (value as u64).to_le_bytes()).concat();
            file.extend([b"PK\x06\x06\x2c\0\0\0\0\0\0\0", &[0; 12][..], &numbers].concat());
            file.extend([b"PK\x06\x07\0\0\0\0", &end.to_le_bytes()[..], &[1, 0, 0, 0]].concat());
        }
        let count = if wide { [0xFF; 2] } else { u16::try_from(count).unwrap().to_le_bytes() };
        file.extend(
            [b"PK\x05\x06\0\0\0\0", &count[..], &count, &narrow(len), &narrow(start), &[0, 0]].concat(),
        );
        file
    }
}
