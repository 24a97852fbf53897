#include "capsule/criu/image_set.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <format>
#include <optional>

#include "capsule/criu/image_file.h"
#include "criu_images.pb.h"

namespace perdure::capsule {
namespace {

constexpr std::size_t kMaxImageBytes = std::size_t{1} << 30;
constexpr std::uint32_t kPagePresent = 1u << 2;  // PE_PRESENT, criu/include/pagemap.h
constexpr std::uint32_t kPageInParent = 1u << 0;
constexpr std::uint64_t kMaxPagesPerEntry = 0x7fffffff;  // CRIU counts in 32 bits in places

bool is_left_out(std::string_view name) {
  return !name.ends_with(".img") || name.starts_with("stats-") || name.starts_with("pages-");
}

// "pagemap-12.img" -> "mm-12", "pagemap-shmem-3.img" -> "shmem-3".
std::optional<std::string> object_name_of(std::string_view image) {
  constexpr std::string_view kPagemap = "pagemap-";
  if (!image.starts_with(kPagemap) || !image.ends_with(".img")) return std::nullopt;
  const std::string_view id = image.substr(kPagemap.size(), image.size() - kPagemap.size() - 4);
  if (id.starts_with("shmem-")) return std::string(id);
  return std::format("mm-{}", id);
}

Result<SlabRef> map_pages(const std::string& path) {
  PERDURE_ASSIGN(const UniqueFd fd, open_file(path, O_RDONLY));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail_errno(std::format("examine '{}'", path));
  if (info.st_size == 0) return SlabRef{};
  PERDURE_ASSIGN(SlabRef slab, Slab::map_file(fd, static_cast<std::size_t>(info.st_size), path));
  return slab;
}

Result<PagedObject> read_pages(const std::string& directory, const std::string& name) {
  PERDURE_ASSIGN(const std::string bytes, read_file(directory + "/" + name, kMaxImageBytes));
  PERDURE_ASSIGN(const ImageEntries parts, split_image(name, bytes, kPagemapMagic));
  const auto corrupt = [&name](std::string_view why) {
    return fail(ErrorCode::kCorrupt, std::format("CRIU image '{}': {}", name, why));
  };
  criu::PagemapHead head;
  if (parts.entries.empty() ||
      !head.ParseFromArray(parts.entries[0].data(), static_cast<int>(parts.entries[0].size()))) {
    return corrupt("no head");
  }
  PERDURE_ASSIGN(const SlabRef slab,
                 map_pages(std::format("{}/pages-{}.img", directory, head.pages_id())));
  PagedObject object;
  std::uint64_t offset = 0;
  for (std::size_t i = 1; i < parts.entries.size(); ++i) {
    criu::PagemapEntry entry;
    if (!entry.ParseFromArray(parts.entries[i].data(), static_cast<int>(parts.entries[i].size()))) {
      return corrupt("entry cannot be parsed");
    }
    const std::uint64_t pages = entry.has_nr_pages() ? entry.nr_pages() : entry.compat_nr_pages();
    const bool present = entry.has_flags() ? (entry.flags() & kPagePresent) != 0 : true;
    if (entry.in_parent() || (entry.has_flags() && (entry.flags() & kPageInParent) != 0)) {
      return corrupt("refers to a parent image");
    }
    if (!present || pages == 0) continue;
    if (!slab || offset + pages * kPageSize > slab->bytes().size()) return corrupt("pages are missing");
    PERDURE_TRY(object.append({entry.vaddr() / kPageSize, pages, slab, offset}));
    offset += pages * kPageSize;
  }
  return object;
}

std::string pagemap_image(const PagedObject& object, std::uint32_t pages_id) {
  std::string image;
  append_image_magic(image, kPagemapMagic);
  criu::PagemapHead head;
  head.set_pages_id(pages_id);
  append_image_entry(image, head.SerializeAsString());
  const auto add = [&image](std::uint64_t first, std::uint64_t count) {
    criu::PagemapEntry entry;
    entry.set_vaddr(first * kPageSize);
    entry.set_compat_nr_pages(static_cast<std::uint32_t>(count));
    entry.set_nr_pages(count);
    entry.set_flags(kPagePresent);
    append_image_entry(image, entry.SerializeAsString());
  };
  // Neighbouring runs of different slabs become one entry: CRIU reads fewer, larger pieces.
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  for (const PageRun& run : object.runs()) {
    if (count > 0 && first + count == run.first_page && count + run.page_count <= kMaxPagesPerEntry) {
      count += run.page_count;
      continue;
    }
    if (count > 0) add(first, count);
    first = run.first_page;
    count = run.page_count;
  }
  if (count > 0) add(first, count);
  return image;
}

}  // namespace

Result<ImageSet> read_image_directory(const std::string& directory) {
  ImageSet set;
  std::error_code error;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    names.push_back(entry.path().filename().string());
  }
  if (error) {
    return fail(Error::from_errno(std::format("list '{}'", directory), error.value()));
  }
  std::ranges::sort(names);
  for (const std::string& name : names) {
    if (is_left_out(name)) continue;
    if (const auto object = object_name_of(name)) {
      PERDURE_ASSIGN(set.memory[*object], read_pages(directory, name));
      continue;
    }
    PERDURE_ASSIGN(std::string bytes, read_file(directory + "/" + name, kMaxImageBytes));
    set.images.push_back({name, std::move(bytes)});
  }
  return set;
}

Result<ImageCatalogue> ImageCatalogue::build(const Capsule& capsule) {
  ImageCatalogue catalogue;
  for (const Image& image : capsule.images) catalogue.served_[image.name] = {image.bytes, nullptr};
  std::uint32_t pages_id = 0;
  for (const auto& [name, object] : capsule.memory) {
    const auto dash = name.find('-');
    const std::string kind = name.substr(0, dash);
    if (dash == std::string::npos || (kind != "mm" && kind != "shmem")) {
      return fail(ErrorCode::kCorrupt, std::format("capsule of '{}': memory object '{}' has no valid name",
                                                   capsule.manifest.container, name));
    }
    ++pages_id;
    const std::string id = kind == "mm" ? name.substr(dash + 1) : name;
    catalogue.served_[std::format("pagemap-{}.img", id)] = {pagemap_image(object, pages_id), nullptr};
    catalogue.served_[std::format("pages-{}.img", pages_id)] = {{}, &object};
  }
  return catalogue;
}

const ServedImage* ImageCatalogue::find(const std::string& name) const {
  const auto found = served_.find(name);
  return found == served_.end() ? nullptr : &found->second;
}

void ImageCatalogue::change(const Image& image) {
  const auto found = served_.find(image.name);
  if (found != served_.end() && found->second.pages == nullptr) found->second.bytes = image.bytes;
}

}  // namespace perdure::capsule
