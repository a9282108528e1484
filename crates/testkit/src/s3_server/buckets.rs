//! Buckets under short folder names, and what s3s-fs alone would get wrong.
//!
//! s3s-fs keeps what it knows about an object in a file whose name holds bucket and key in base64; with a bucket's full
//! name, the keys of the `s3` handler's default path come out longer than a file name may be. So a bucket is a folder
//! `b00`, `b01`… with a symbolic link of the bucket's name beside it, and requests are taken there by their link.
//!
//! A missing bucket is said to be missing whatever is asked of it; a key that is only the beginning of others is not
//! there; and an upload that fails its digest leaves nothing behind. s3s-fs alone answers 404, 500 and keeps the bytes.

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};
use s3s_fs::FileSystem;
use std::path::{Path, PathBuf};

/// s3s-fs over a folder, by the buckets' links.
#[derive(Debug)]
pub(super) struct Buckets {
    files: FileSystem,
    root: PathBuf,
}

impl Buckets {
    pub(super) fn new(root: &Path) -> std::io::Result<Self> {
        let files = FileSystem::new(root).map_err(|error| std::io::Error::other(format!("{error:?}")))?;
        Ok(Buckets { files, root: root.to_owned() })
    }

    /// The folder's own name.
    fn folder(&self, bucket: &str) -> S3Result<String> {
        let path = self.root.join(bucket);
        match std::fs::read_link(&path).ok().and_then(|target| target.to_str().map(str::to_owned)) {
            Some(folder) => Ok(folder),
            None if path.is_dir() => Ok(bucket.to_owned()),
            None => Err(s3s::s3_error!(NoSuchBucket, "The specified bucket does not exist")),
        }
    }

    /// True where a key is only the beginning of others: a folder here, nothing at all to S3.
    fn is_only_a_folder(&self, folder: &str, key: &str) -> bool {
        !key.ends_with('/') && self.root.join(folder).join(key).is_dir()
    }

    fn copied_from(&self, source: CopySource) -> S3Result<CopySource> {
        Ok(match source {
            CopySource::Bucket { bucket, key, version_id } => {
                CopySource::Bucket { bucket: self.folder(&bucket)?.into(), key, version_id }
            }
            other => other,
        })
    }
}

/// Makes a bucket where there is none of this name.
pub(super) fn make(root: &Path, bucket: &str) -> std::io::Result<()> {
    let link = root.join(bucket);
    if link.exists() {
        return Ok(());
    }
    for number in 0..=u8::MAX {
        let name = format!("b{number:02x}");
        match std::fs::create_dir(root.join(&name)) {
            Ok(()) => return std::os::unix::fs::symlink(name, link),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::other("256 buckets are enough"))
}

/// Removes a bucket with its objects.
pub(super) fn remove(root: &Path, bucket: &str) -> std::io::Result<()> {
    let link = root.join(bucket);
    let folder = root.join(std::fs::read_link(&link)?);
    std::fs::remove_file(link)?;
    std::fs::remove_dir_all(folder)
}

macro_rules! by_link {
    ($($method:ident $input:ident $output:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Buckets {
            $(async fn $method(&self, mut request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                request.input.bucket = self.folder(&request.input.bucket)?;
                self.files.$method(request).await
            })*

            async fn put_object(&self, mut request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
                request.input.bucket = self.folder(&request.input.bucket)?;
                let path = self.root.join(&*request.input.bucket).join(&*request.input.key);
                let answer = self.files.put_object(request).await;
                if answer.as_ref().is_err_and(|error| *error.code() == s3s::S3ErrorCode::BadDigest) {
                    let _ = std::fs::remove_file(path);
                }
                answer
            }

            async fn get_object(&self, mut request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
                request.input.bucket = self.folder(&request.input.bucket)?;
                if self.is_only_a_folder(&request.input.bucket, &request.input.key) {
                    return Err(s3s::s3_error!(NoSuchKey));
                }
                self.files.get_object(request).await
            }

            async fn head_object(&self, mut request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
                request.input.bucket = self.folder(&request.input.bucket)?;
                if self.is_only_a_folder(&request.input.bucket, &request.input.key) {
                    return Err(s3s::s3_error!(NoSuchKey));
                }
                self.files.head_object(request).await
            }

            async fn delete_object(&self, mut request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
                request.input.bucket = self.folder(&request.input.bucket)?;
                if self.is_only_a_folder(&request.input.bucket, &request.input.key) {
                    return Ok(S3Response::new(DeleteObjectOutput::default()));
                }
                self.files.delete_object(request).await
            }

            async fn copy_object(&self, mut request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
                request.input.bucket = self.folder(&request.input.bucket)?;
                request.input.copy_source = self.copied_from(request.input.copy_source)?;
                self.files.copy_object(request).await
            }

            async fn list_objects(&self, mut request: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
                let asked = std::mem::take(&mut request.input.bucket);
                request.input.bucket = self.folder(&asked)?;
                let mut answer = self.files.list_objects(request).await?;
                answer.output.name = Some(asked);
                Ok(answer)
            }

            async fn list_objects_v2(&self, mut request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
                let asked = std::mem::take(&mut request.input.bucket);
                request.input.bucket = self.folder(&asked)?;
                let mut answer = self.files.list_objects_v2(request).await?;
                answer.output.name = Some(asked);
                Ok(answer)
            }

            async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
                if self.root.join(&*request.input.bucket).exists() {
                    return Err(s3s::s3_error!(BucketAlreadyExists));
                }
                make(&self.root, &request.input.bucket).map_err(s3s::S3Error::internal_error)?;
                Ok(S3Response::new(CreateBucketOutput::default()))
            }

            async fn delete_bucket(&self, request: S3Request<DeleteBucketInput>) -> S3Result<S3Response<DeleteBucketOutput>> {
                remove(&self.root, &request.input.bucket).map_err(|_| s3s::s3_error!(NoSuchBucket))?;
                Ok(S3Response::new(DeleteBucketOutput::default()))
            }

            async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
                let entries = std::fs::read_dir(&self.root).map_err(s3s::S3Error::internal_error)?;
                let links = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
                let mut names: Vec<String> = links.filter_map(|link| link.file_name().into_string().ok()).collect();
                names.sort();
                let buckets = names.into_iter().map(|name| Bucket { name: Some(name), ..Default::default() }).collect();
                Ok(S3Response::new(ListBucketsOutput { buckets: Some(buckets), ..Default::default() }))
            }
        }
    };
}

by_link! {
    delete_objects DeleteObjectsInput DeleteObjectsOutput;
    get_bucket_location GetBucketLocationInput GetBucketLocationOutput;
    head_bucket HeadBucketInput HeadBucketOutput;
    upload_part UploadPartInput UploadPartOutput;
    list_parts ListPartsInput ListPartsOutput;
    create_multipart_upload CreateMultipartUploadInput CreateMultipartUploadOutput;
    complete_multipart_upload CompleteMultipartUploadInput CompleteMultipartUploadOutput;
    abort_multipart_upload AbortMultipartUploadInput AbortMultipartUploadOutput;
}
