// Package gcs keeps an evidence repository in a Google Cloud Storage bucket.
// Objects are created under the precondition that they do not exist (generation
// 0), and every transfer is checked by CRC32C. It needs the build tag cloud.
package gcs
