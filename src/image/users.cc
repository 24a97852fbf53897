// Users of a container: numbers and names resolved in the image's passwd and group (passwd(5),
// group(5)).
#include <algorithm>
#include <charconv>
#include <format>
#include <optional>
#include <string_view>

#include "image/bundle.h"
#include "image/root_directory.h"

namespace perdure::image {
namespace {

// A passwd of 100,000 users has 5 MB.
constexpr std::size_t kMaxDatabaseBytes = std::size_t{16} << 20;

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::optional<std::uint32_t> parse_id(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // 4294967295 is "no id" to the kernel.
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() || value == ~0U) {
    return std::nullopt;
  }
  return value;
}

struct UserEntry {
  std::string name;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string home;
};

struct GroupEntry {
  std::string name;
  std::uint32_t gid = 0;
  std::vector<std::string> members;
};

Result<std::string> read_database(const RootDirectory& root, const std::string& path) {
  PERDURE_ASSIGN(const std::optional<std::string> text, root.read_file(path, kMaxDatabaseBytes));
  return text.value_or("");
}

// Lines that are no entries are passed over, as libc does.
Result<std::vector<UserEntry>> read_users(const RootDirectory& root) {
  PERDURE_ASSIGN(const std::string text, read_database(root, "/etc/passwd"));
  std::vector<UserEntry> users;
  for (const std::string_view line : split(text, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() < 4) continue;
    const auto uid = parse_id(fields[2]);
    const auto gid = parse_id(fields[3]);
    if (!uid || !gid) continue;
    users.push_back({std::string(fields[0]), *uid, *gid,
                     fields.size() > 5 ? std::string(fields[5]) : std::string{}});
  }
  return users;
}

Result<std::vector<GroupEntry>> read_groups(const RootDirectory& root) {
  PERDURE_ASSIGN(const std::string text, read_database(root, "/etc/group"));
  std::vector<GroupEntry> groups;
  for (const std::string_view line : split(text, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() < 3) continue;
    const auto gid = parse_id(fields[2]);
    if (!gid) continue;
    GroupEntry group{std::string(fields[0]), *gid, {}};
    if (fields.size() > 3) {
      for (const std::string_view member : split(fields[3], ','))
        group.members.emplace_back(member);
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

// By name first, as in `docker run --user`: a user may be called "1000".
const UserEntry* find_user(const std::vector<UserEntry>& users, std::string_view text) {
  const auto named = std::ranges::find(users, text, &UserEntry::name);
  if (named != users.end()) return &*named;
  const auto id = parse_id(text);
  if (!id) return nullptr;
  const auto numbered = std::ranges::find(users, *id, &UserEntry::uid);
  return numbered == users.end() ? nullptr : &*numbered;
}

std::optional<std::uint32_t> find_group(const std::vector<GroupEntry>& groups,
                                        std::string_view text) {
  const auto named = std::ranges::find(groups, text, &GroupEntry::name);
  return named != groups.end() ? std::optional(named->gid) : parse_id(text);
}

}  // namespace

Result<ProcessIdentity> resolve_user(const std::string& user, const std::string& root_dir) {
  PERDURE_ASSIGN(const RootDirectory root, RootDirectory::open(root_dir));
  PERDURE_ASSIGN(const std::vector<UserEntry> users, read_users(root));
  PERDURE_ASSIGN(const std::vector<GroupEntry> groups, read_groups(root));
  const auto colon = user.find(':');
  const std::string name = user.empty() || colon == 0 ? "0" : user.substr(0, colon);
  const std::string group = colon == std::string::npos ? "" : user.substr(colon + 1);

  ProcessIdentity identity;
  identity.home = "/";
  const UserEntry* entry = find_user(users, name);
  if (entry != nullptr) {
    identity.uid = entry->uid;
    identity.gid = entry->gid;
    if (!entry->home.empty()) identity.home = entry->home;
  } else if (const auto uid = parse_id(name)) {
    identity.uid = *uid;
  } else {
    return fail(
        ErrorCode::kNotFound,
        std::format("user '{}' is not in the image's /etc/passwd: name one that is, or give "
                    "numbers",
                    name));
  }
  if (!group.empty()) {
    const auto gid = find_group(groups, group);
    if (!gid) {
      return fail(
          ErrorCode::kNotFound,
          std::format("group '{}' is not in the image's /etc/group: name one that is, or give "
                      "a number",
                      group));
    }
    identity.gid = *gid;
    return identity;  // a named group replaces the additional ones
  }
  if (entry != nullptr) {
    for (const GroupEntry& candidate : groups) {
      if (candidate.gid != identity.gid && std::ranges::contains(candidate.members, entry->name)) {
        identity.additional_gids.push_back(candidate.gid);
      }
    }
  }
  return identity;
}

}  // namespace perdure::image
