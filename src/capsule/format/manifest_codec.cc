#include "capsule/format/manifest_codec.h"

#include "capsule.pb.h"
#include "capsule/format/layout.h"

namespace perdure::capsule {
namespace {

std::unexpected<Error> corrupt_manifest(std::string_view what) {
  return fail(ErrorCode::kCorrupt, "manifest: " + std::string(what));
}

void write_generation(const Generation& generation, v1::GenerationId& message) {
  message.set_term(generation.term.value);
  message.set_incarnation(generation.incarnation.value);
  message.set_number(generation.number);
}

Generation read_generation(const v1::GenerationId& message) {
  return Generation{Term{message.term()}, Incarnation{message.incarnation()}, message.number()};
}

void write_requirements(const Requirements& requirements, v1::Requirements& message) {
  message.set_criu_version(requirements.criu_version);
  message.set_kernel_release(requirements.kernel_release);
  message.set_architecture(requirements.architecture);
  for (const std::string& feature : requirements.cpu_features) message.add_cpu_features(feature);
  message.set_cpu_features_from_parent(requirements.cpu_features_from_parent);
}

void write_stats(const CaptureStats& stats, v1::CaptureStats& message) {
  message.set_frozen_ns(stats.frozen.count());
  message.set_wall_ns(stats.wall.count());
  message.set_cpu_ns(stats.cpu.count());
  message.set_memory_bytes(stats.memory.count);
  message.set_memory_changed_bytes(stats.memory_changed.count);
  message.set_files_changed_bytes(stats.files_changed.count);
}

CaptureStats read_stats(const v1::CaptureStats& message) {
  CaptureStats stats;
  stats.frozen = Duration(message.frozen_ns());
  stats.wall = Duration(message.wall_ns());
  stats.cpu = Duration(message.cpu_ns());
  stats.memory = Bytes{message.memory_bytes()};
  stats.memory_changed = Bytes{message.memory_changed_bytes()};
  stats.files_changed = Bytes{message.files_changed_bytes()};
  return stats;
}

Status read_lineage(const v1::Manifest& message, Manifest& manifest) {
  manifest.generation = read_generation(message.generation());
  if (message.has_parent() != !message.parent_digest().empty()) {
    return corrupt_manifest("a parent and its digest come together");
  }
  if (!message.has_parent()) return {};
  if (message.parent_digest().size() != sizeof(DigestBytes)) {
    return corrupt_manifest("the parent's digest does not have 16 bytes");
  }
  manifest.parent = read_generation(message.parent());
  manifest.parent_digest = digest_from_bytes(message.parent_digest().data());
  if (*manifest.parent >= manifest.generation) return corrupt_manifest("the parent is not older");
  return {};
}

}  // namespace

void write_manifest(const Manifest& manifest, v1::Manifest& message) {
  message.set_container(manifest.container);
  write_generation(manifest.generation, *message.mutable_generation());
  if (manifest.parent && manifest.parent_digest) {
    write_generation(*manifest.parent, *message.mutable_parent());
    const DigestBytes digest = to_bytes(*manifest.parent_digest);
    message.set_parent_digest(digest.data(), digest.size());
  }
  message.set_image_digest(manifest.image_digest);
  message.set_spec_digest(manifest.spec_digest);
  message.set_spec_yaml(manifest.spec_yaml);
  for (const std::string& address : manifest.addresses) message.add_addresses(address);
  message.set_created_unix_ns(
      std::chrono::duration_cast<Duration>(manifest.created.time_since_epoch()).count());
  write_requirements(manifest.requirements, *message.mutable_requirements());
  write_stats(manifest.stats, *message.mutable_stats());
  for (const auto& [key, value] : manifest.restore_hints) {
    v1::KeyValue* hint = message.add_restore_hints();
    hint->set_key(key);
    hint->set_value(value);
  }
}

Result<Manifest> read_manifest(const v1::Manifest& message) {
  Manifest manifest;
  manifest.container = message.container();
  if (!ContainerName::parse(manifest.container)) return corrupt_manifest("no valid container name");
  PERDURE_TRY(read_lineage(message, manifest));
  manifest.image_digest = message.image_digest();
  manifest.spec_digest = message.spec_digest();
  manifest.spec_yaml = message.spec_yaml();
  manifest.addresses.assign(message.addresses().begin(), message.addresses().end());
  manifest.created =
      WallTime(std::chrono::duration_cast<WallTime::duration>(Duration(message.created_unix_ns())));
  const v1::Requirements& needs = message.requirements();
  manifest.requirements.criu_version = needs.criu_version();
  manifest.requirements.kernel_release = needs.kernel_release();
  manifest.requirements.architecture = needs.architecture();
  manifest.requirements.cpu_features.assign(needs.cpu_features().begin(),
                                            needs.cpu_features().end());
  manifest.requirements.cpu_features_from_parent = needs.cpu_features_from_parent();
  if (needs.cpu_features_from_parent() && (!manifest.parent || needs.cpu_features_size() != 0)) {
    return corrupt_manifest("CPU features of a parent, and no parent or others besides");
  }
  manifest.stats = read_stats(message.stats());
  for (const v1::KeyValue& hint : message.restore_hints()) {
    if (!manifest.restore_hints.empty() && manifest.restore_hints.rbegin()->first >= hint.key()) {
      return corrupt_manifest("restore hints out of order or twice");
    }
    manifest.restore_hints.emplace(hint.key(), hint.value());
  }
  return manifest;
}

}  // namespace perdure::capsule
