// Reading an OCI image layout (image-spec 1.0/1.1): index.json -> manifest -> configuration.
#pragma once

#include <string>

#include "base/result.h"
#include "image/image.h"

namespace perdure::image {

struct OciImage {
  std::string manifest_digest;  // "sha256:…"
  ImageDefaults defaults;
};

// The image that index.json names TAG (annotation org.opencontainers.image.ref.name), for
// ARCHITECTURE as the image spec calls it ("amd64") where the tag is an index of several.
// kNotFound: no layout, or no such tag (the message lists those there are). kCorrupt: a blob that
// does not match its digest. kUnsupported: not for this architecture or operating system, or
// another digest than sha256.
Result<OciImage> read_oci_image(const std::string& layout_dir, const std::string& tag,
                                const std::string& architecture);

// uname's machine as the image spec calls it: x86_64 -> amd64, aarch64 -> arm64, the rest
// unchanged.
std::string oci_architecture(const std::string& machine);
// uname's machine of this host.
std::string host_machine();

// image.json: what is known of an image that was unpacked.
struct ImageDescription {
  std::string digest;  // of the image
  std::string tree;    // digest of the unpacked tree; empty: unpacked before it was kept
  std::string source;  // for people: where it came from
  ImageDefaults defaults;
};
std::string to_json(const ImageDescription& description);
// kCorrupt: no JSON object. What is missing or of another type is empty.
Result<ImageDescription> description_from_json(const std::string& text, const std::string& path);

}  // namespace perdure::image
