pub mod buckets;
pub mod rejections;
