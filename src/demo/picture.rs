//! Pictures of the sample site: small painted landscapes.
//!
//! A [`Scene`] is chosen from a number and painted from that number alone: the same number gives the same bytes on
//! every machine. **Invariant:** only `+ - * /` and comparisons on floats, which IEEE 754 fixes to the last bit; no
//! sines, no powers, no system randomness. The encoder's output is part of the bytes, so a new version of the `png`
//! crate may change every hash; a test of the parent module notices.

use super::dice::Dice;

type Rgb = [f32; 3];

/// Colours of one time of day: top and foot of the sky, sun or moon, far and near hills.
struct Light {
    tag: &'static str,
    top: Rgb,
    foot: Rgb,
    disc: Rgb,
    far: Rgb,
    near: Rgb,
}

#[rustfmt::skip]
const LIGHTS: [Light; 5] = [
    Light { tag: "dawn", top: [118., 150., 196.], foot: [252., 214., 190.], disc: [255., 244., 214.],
        far: [190., 172., 188.], near: [58., 66., 84.] },
    Light { tag: "noon", top: [72., 142., 206.], foot: [206., 230., 240.], disc: [255., 252., 226.],
        far: [150., 184., 190.], near: [46., 92., 60.] },
    Light { tag: "dusk", top: [70., 58., 112.], foot: [246., 150., 98.], disc: [255., 222., 150.],
        far: [150., 92., 116.], near: [38., 28., 52.] },
    Light { tag: "night", top: [12., 18., 44.], foot: [52., 72., 112.], disc: [238., 240., 224.],
        far: [44., 60., 92.], near: [10., 16., 28.] },
    Light { tag: "autumn", top: [142., 164., 180.], foot: [242., 226., 190.], disc: [255., 246., 210.],
        far: [204., 162., 120.], near: [112., 58., 36.] },
];

/// What a picture shows.
pub(super) struct Scene {
    pub(super) width: u32,
    pub(super) height: u32,
    seed: u64,
    light: &'static Light,
    water: bool,
    trees: u32,
    birch: bool,
}

impl Scene {
    /// The scene of a number.
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let (long, short) = (dice.pick(112..161), dice.pick(96..112));
        let upright = dice.chance(20);
        Self {
            width: if upright { short } else { long },
            height: if upright { long } else { short },
            seed: seed ^ 0x5ce0_e000,
            light: &LIGHTS[dice.pick(0..LIGHTS.len() as u32) as usize],
            water: dice.chance(45),
            trees: if dice.chance(60) { dice.pick(3..14) } else { 0 },
            birch: dice.chance(40),
        }
    }

    /// Tags that are true of the picture.
    pub(super) fn tags(&self) -> Vec<&'static str> {
        let mut tags = vec![self.light.tag, "hills"];
        tags.push(if self.width > self.height {
            "landscape"
        } else {
            "upright"
        });
        tags.push(if self.water { "river" } else { "meadow" });
        if self.trees > 0 {
            tags.push(if self.birch { "birch" } else { "pine" });
        }
        tags
    }

    /// Paints the picture and returns it as a PNG file.
    pub(super) fn png(&self) -> Vec<u8> {
        let mut dice = Dice::new(self.seed);
        let mut canvas = Canvas::new(self.width, self.height);
        let (w, h) = (self.width as f32, self.height as f32);
        self.sky(&mut canvas, &mut dice);
        let mut ridge = Vec::new();
        for layer in 0..4_u8 {
            let t = f32::from(layer) / 3.0;
            let level = h * (0.46 + 0.13 * f32::from(layer));
            ridge = hills(&mut dice, self.width, level, h * (0.22 - 0.12 * t));
            let colour = mix(self.light.far, self.light.near, t);
            // The river lies between the third ridge and the nearest.
            if self.water && layer == 3 {
                self.river(&mut canvas, &mut dice, h * 0.76);
                ridge
                    .iter_mut()
                    .for_each(|y| *y = (*y + h * 0.06).max(h * 0.84));
            }
            let foot = mix(colour, self.light.foot, 0.22 * (1.0 - t));
            canvas.hill(&ridge, colour, foot);
        }
        for _ in 0..self.trees {
            let x = dice.float(2.0, w - 3.0);
            let (foot, tall) = (ridge[x as usize] + 2.0, h * dice.float(0.12, 0.26));
            if self.birch {
                self.birch(&mut canvas, x, foot, tall);
            } else {
                self.pine(&mut canvas, x, foot, tall);
            }
        }
        canvas.png()
    }

    fn sky(&self, canvas: &mut Canvas, dice: &mut Dice) {
        let (w, h) = (self.width as f32, self.height as f32);
        for y in 0..self.height {
            let colour = mix(
                self.light.top,
                self.light.foot,
                (y as f32 / (h * 0.7)).min(1.0),
            );
            canvas.row(y, colour);
        }
        if self.light.tag == "night" {
            for _ in 0..40 {
                let (x, y) = (dice.pick(0..self.width), dice.pick(0..self.height / 2));
                canvas.blend(x, y, self.light.disc, dice.float(0.2, 0.9));
            }
        }
        let (x, y) = (dice.float(0.15, 0.85) * w, dice.float(0.12, 0.4) * h);
        let radius = h * dice.float(0.05, 0.1);
        canvas.disc(x, y, radius * 2.1, self.light.disc, 0.16);
        canvas.disc(x, y, radius * 1.5, self.light.disc, 0.22);
        canvas.disc(x, y, radius, self.light.disc, 1.0);
    }

    /// Water from `top` down: the sky upside down, with streaks of light.
    fn river(&self, canvas: &mut Canvas, dice: &mut Dice, top: f32) {
        let depth = self.height as f32 - top;
        for y in top as u32..self.height {
            let down = (y as f32 - top) / depth;
            let colour = mix(
                mix(self.light.foot, self.light.top, down),
                self.light.near,
                0.15,
            );
            canvas.row(y, colour);
        }
        for _ in 0..10 {
            let (x, y) = (dice.pick(0..self.width - 12), top as u32 + dice.pick(1..12));
            let long = dice.pick(6..28).min(self.width - x);
            (x..x + long).for_each(|x| canvas.blend(x, y, self.light.disc, 0.35));
        }
    }

    fn pine(&self, canvas: &mut Canvas, x: f32, foot: f32, tall: f32) {
        let colour = mix(self.light.near, [14.0, 34.0, 28.0], 0.5);
        for step in 0..tall as u32 {
            let down = step as f32;
            // Three skirts, each wider than the one above.
            let skirt = (down * 3.0 / tall).min(2.0) as u8;
            let part = down * 3.0 / tall - f32::from(skirt);
            let half = tall * (0.06 + 0.05 * f32::from(skirt)) * (0.35 + part);
            canvas.bar(x - half, x + half, foot - tall + down, colour);
        }
    }

    fn birch(&self, canvas: &mut Canvas, x: f32, foot: f32, tall: f32) {
        let bark = mix([236.0, 234.0, 224.0], self.light.near, 0.25);
        for step in 0..tall as u32 {
            let colour = if step % 5 == 0 { self.light.near } else { bark };
            canvas.bar(x - 0.6, x + 0.6, foot - step as f32, colour);
        }
        let leaf = mix(self.light.near, [214.0, 176.0, 74.0], 0.45);
        for (dx, dy, r) in [(-0.12, 0.78, 0.17), (0.13, 0.86, 0.16), (0.0, 1.0, 0.18)] {
            canvas.disc(x + dx * tall, foot - dy * tall, r * tall, leaf, 0.85);
        }
    }
}

/// Heights of a ridge, one for each column: two octaves of smoothed noise around `level`.
fn hills(dice: &mut Dice, width: u32, level: f32, swing: f32) -> Vec<f32> {
    let mut ridge = vec![level; width as usize];
    for (step, size) in [(38, swing), (11, swing * 0.28)] {
        let knots: Vec<f32> = (0..=width / step + 1)
            .map(|_| dice.float(-size, size))
            .collect();
        for (x, y) in ridge.iter_mut().enumerate() {
            let (knot, part) = (x / step as usize, (x % step as usize) as f32 / step as f32);
            let smooth = part * part * (3.0 - 2.0 * part);
            *y += knots[knot] + (knots[knot + 1] - knots[knot]) * smooth;
        }
    }
    ridge
}

fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    [0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * t)
}

/// The nearest colour of 8 bits a channel.
fn bytes(colour: Rgb) -> [u8; 3] {
    colour.map(|part| (part + 0.5) as u8)
}

struct Canvas {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Canvas {
    fn new(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            rgb: vec![0; (width * height * 3) as usize],
        }
    }

    /// Lays `colour` over one pixel; points outside are ignored.
    fn blend(&mut self, x: u32, y: u32, colour: Rgb, alpha: f32) {
        if x >= self.width || y >= self.height {
            return;
        }
        let at = ((y * self.width + x) * 3) as usize;
        for (byte, wanted) in self.rgb[at..at + 3].iter_mut().zip(colour) {
            let old = f32::from(*byte);
            *byte = (old + (wanted - old) * alpha + 0.5) as u8;
        }
    }

    /// Fills a whole row.
    fn row(&mut self, y: u32, colour: Rgb) {
        let at = (y * self.width * 3) as usize;
        let row = &mut self.rgb[at..at + self.width as usize * 3];
        row.copy_from_slice(&bytes(colour).repeat(self.width as usize));
    }

    /// Fills all below a ridge, whose edge is softened, with a colour that becomes `foot` at the lower edge.
    fn hill(&mut self, ridge: &[f32], colour: Rgb, foot: Rgb) {
        let rows: Vec<[u8; 3]> = (0..self.height)
            .map(|y| bytes(mix(colour, foot, y as f32 / self.height as f32)))
            .collect();
        for (x, top) in ridge.iter().map(|top| top.max(0.0)).enumerate() {
            let first = top as u32;
            self.blend(x as u32, first, colour, 1.0 - (top - first as f32));
            for (y, row) in rows.iter().enumerate().skip(first as usize + 1) {
                let at = (y * self.width as usize + x) * 3;
                self.rgb[at..at + 3].copy_from_slice(row);
            }
        }
    }

    /// A row from `left` to `right`, both ends softened.
    fn bar(&mut self, left: f32, right: f32, y: f32, colour: Rgb) {
        if y < 0.0 {
            return;
        }
        for x in left.max(0.0) as u32..=right.max(0.0) as u32 {
            let cover = (right.min(x as f32 + 1.0) - left.max(x as f32)).clamp(0.0, 1.0);
            self.blend(x, y as u32, colour, cover);
        }
    }

    /// A filled circle with a soft edge.
    fn disc(&mut self, cx: f32, cy: f32, radius: f32, colour: Rgb, alpha: f32) {
        let reach = radius + 1.0;
        for y in (cy - reach).max(0.0) as u32..=(cy + reach).max(0.0) as u32 {
            for x in (cx - reach).max(0.0) as u32..=(cx + reach).max(0.0) as u32 {
                let (dx, dy) = (x as f32 - cx, y as f32 - cy);
                // Near the edge, (r² - d²) / 2r is the distance to it: no root needed.
                let inside = (radius * radius - dx * dx - dy * dy) / (2.0 * radius) + 0.5;
                self.blend(x, y, colour, inside.clamp(0.0, 1.0) * alpha);
            }
        }
    }

    fn png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&self.rgb))
            .expect("a Vec takes every write and the buffer has width × height × 3 bytes");
        bytes
    }
}
