#include "image/oci_layout.h"

#include <sys/utsname.h>

#include <format>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/fd.h"
#include "image/sha256.h"

namespace perdure::image {
namespace {

using Json = nlohmann::json;

// Manifests and configurations are a few kB; layers are never read here.
constexpr std::size_t kMaxJsonBytes = std::size_t{8} << 20;
constexpr std::string_view kRefName = "org.opencontainers.image.ref.name";
constexpr int kMaxIndexDepth = 4;

Result<Json> parse_json(const std::string& text, const std::string& path) {
  Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded() || !value.is_object()) {
    return fail(ErrorCode::kCorrupt, std::format("'{}' is not a JSON object", path));
  }
  return value;
}

std::string text_of(const Json& object, std::string_view key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

std::vector<std::string> texts_of(const Json& object, std::string_view key) {
  std::vector<std::string> texts;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) return texts;
  for (const Json& item : *found) {
    if (item.is_string()) texts.push_back(item.get<std::string>());
  }
  return texts;
}

const Json& object_of(const Json& object, std::string_view key) {
  static const Json kEmpty = Json::object();
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : kEmpty;
}

class LayoutReader {
 public:
  LayoutReader(std::string layout_dir, std::string architecture)
      : layout_dir_(std::move(layout_dir)), architecture_(std::move(architecture)) {}

  Result<OciImage> read(const std::string& tag) {
    PERDURE_ASSIGN(const Json index, read_index());
    PERDURE_ASSIGN(const Json descriptor, find_tag(index, tag));
    PERDURE_ASSIGN(const std::string digest, resolve_manifest(descriptor, 0));
    PERDURE_ASSIGN(const Json manifest, read_blob(digest));
    PERDURE_ASSIGN(const Json config, read_blob(text_of(object_of(manifest, "config"), "digest")));
    PERDURE_TRY(check_platform(config, tag));
    const Json& process = object_of(config, "config");
    OciImage image;
    image.manifest_digest = digest;
    image.defaults.entrypoint = texts_of(process, "Entrypoint");
    image.defaults.command = texts_of(process, "Cmd");
    image.defaults.environment = texts_of(process, "Env");
    image.defaults.working_directory = text_of(process, "WorkingDir");
    image.defaults.user = text_of(process, "User");
    return image;
  }

 private:
  Result<Json> read_index() {
    const std::string path = layout_dir_ + "/index.json";
    const auto text = read_file(path, kMaxJsonBytes);
    if (!text && text.error().code() == ErrorCode::kNotFound) {
      return fail(ErrorCode::kNotFound,
                  std::format("'{}' is no OCI image layout: it has no index.json", layout_dir_));
    }
    if (!text) return fail(text.error());
    return parse_json(*text, path);
  }

  Result<Json> read_blob(const std::string& digest) {
    const std::string_view hex = digest_hex(digest);
    if (hex.empty()) {
      return fail(ErrorCode::kUnsupported,
                  std::format("image layout '{}': digest '{}' is not a sha256 digest", layout_dir_,
                              digest.substr(0, 100)));
    }
    const std::string path = std::format("{}/blobs/sha256/{}", layout_dir_, hex);
    PERDURE_ASSIGN(const std::string text, read_file(path, kMaxJsonBytes));
    if (sha256_of(text) != digest) {
      return fail(ErrorCode::kCorrupt,
                  std::format("'{}' does not match its digest: fetch the image again", path));
    }
    return parse_json(text, path);
  }

  Result<Json> find_tag(const Json& index, const std::string& tag) {
    std::string known;
    if (const auto manifests = index.find("manifests");
        manifests != index.end() && manifests->is_array()) {
      for (const Json& descriptor : *manifests) {
        if (!descriptor.is_object()) continue;
        const std::string name = text_of(object_of(descriptor, "annotations"), kRefName);
        if (name == tag) return descriptor;
        if (!name.empty()) known += (known.empty() ? "'" : ", '") + name + "'";
      }
    }
    return fail(ErrorCode::kNotFound,
                std::format("image layout '{}' has no tag '{}' (it has {})", layout_dir_, tag,
                            known.empty() ? "none" : known));
  }

  // Down through indexes to the manifest for this architecture.
  Result<std::string> resolve_manifest(const Json& descriptor, int depth) {
    const std::string digest = text_of(descriptor, "digest");
    const std::string type = text_of(descriptor, "mediaType");
    if (!type.contains("index") && !type.contains("manifest.list")) return digest;
    if (depth >= kMaxIndexDepth) {
      return fail(ErrorCode::kCorrupt, std::format("image layout '{}': indexes nest deeper than {}",
                                                   layout_dir_, kMaxIndexDepth));
    }
    PERDURE_ASSIGN(const Json index, read_blob(digest));
    if (const auto manifests = index.find("manifests");
        manifests != index.end() && manifests->is_array()) {
      for (const Json& candidate : *manifests) {
        const Json& platform = object_of(candidate, "platform");
        if (text_of(platform, "architecture") == architecture_ &&
            text_of(platform, "os") == "linux") {
          return resolve_manifest(candidate, depth + 1);
        }
      }
    }
    return fail(ErrorCode::kUnsupported,
                std::format("image layout '{}': '{}' has nothing for linux/{}", layout_dir_, digest,
                            architecture_));
  }

  Status check_platform(const Json& config, const std::string& tag) {
    const std::string architecture = text_of(config, "architecture");
    const std::string os = text_of(config, "os");
    if ((architecture.empty() || architecture == architecture_) && (os.empty() || os == "linux")) {
      return {};
    }
    return fail(ErrorCode::kUnsupported,
                std::format("image '{}:{}' is for {}/{}, this host is linux/{}", layout_dir_, tag,
                            os, architecture, architecture_));
  }

  std::string layout_dir_;
  std::string architecture_;
};

}  // namespace

Result<OciImage> read_oci_image(const std::string& layout_dir, const std::string& tag,
                                const std::string& architecture) {
  return LayoutReader(layout_dir, architecture).read(tag);
}

std::string host_machine() {
  utsname names{};
  return ::uname(&names) == 0 ? names.machine : "";
}

std::string oci_architecture(const std::string& machine) {
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  return machine;
}

std::string to_json(const ImageDescription& description) {
  const ImageDefaults& defaults = description.defaults;
  const Json value = {{"digest", description.digest},
                      {"tree", description.tree},
                      {"source", description.source},
                      {"entrypoint", defaults.entrypoint},
                      {"command", defaults.command},
                      {"environment", defaults.environment},
                      {"workingDirectory", defaults.working_directory},
                      {"user", defaults.user}};
  return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<ImageDescription> description_from_json(const std::string& text, const std::string& path) {
  PERDURE_ASSIGN(const Json value, parse_json(text, path));
  return ImageDescription{.digest = text_of(value, "digest"),
                          .tree = text_of(value, "tree"),
                          .source = text_of(value, "source"),
                          .defaults = {.entrypoint = texts_of(value, "entrypoint"),
                                       .command = texts_of(value, "command"),
                                       .environment = texts_of(value, "environment"),
                                       .working_directory = text_of(value, "workingDirectory"),
                                       .user = text_of(value, "user")}};
}

}  // namespace perdure::image
