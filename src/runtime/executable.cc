#include "runtime/executable.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <format>
#include <optional>
#include <string_view>

#include "image/root_directory.h"

namespace perdure::runtime {
namespace {

// The kernel reads this much of a script's first line (BINPRM_BUF_SIZE), and a loader's path is
// shorter.
constexpr std::size_t kHeadBytes = 4096;
constexpr unsigned kMaxProgramHeaders = 64;

std::vector<std::string> candidates_of(const CommandLookup& lookup) {
  if (lookup.command.starts_with('/')) return {lookup.command};
  if (lookup.command.contains('/')) return {lookup.working_directory + "/" + lookup.command};
  std::vector<std::string> candidates;
  std::string_view rest = lookup.path;
  while (!rest.empty()) {
    const auto colon = rest.find(':');
    const std::string_view directory = rest.substr(0, colon);
    rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
    if (!directory.empty()) candidates.push_back(std::format("{}/{}", directory, lookup.command));
  }
  return candidates;
}

std::optional<unsigned> elf_machine(std::string_view machine) {
  if (machine == "x86_64") return EM_X86_64;
  if (machine == "aarch64") return EM_AARCH64;
  if (machine == "riscv64") return EM_RISCV;
  return std::nullopt;
}

template <typename Value>
std::optional<Value> value_at(std::string_view bytes, std::size_t offset) {
  Value value{};
  if (offset > bytes.size() || bytes.size() - offset < sizeof value) return std::nullopt;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// Path of the dynamic loader; empty if there is none or it lies beyond the head.
std::string loader_of(std::string_view head, const Elf64_Ehdr& header) {
  for (unsigned i = 0; i < header.e_phnum && i < kMaxProgramHeaders; ++i) {
    const auto segment = value_at<Elf64_Phdr>(head, header.e_phoff + i * sizeof(Elf64_Phdr));
    if (!segment || segment->p_type != PT_INTERP) continue;
    if (segment->p_offset >= head.size()) return {};
    const std::string_view rest = head.substr(segment->p_offset, segment->p_filesz);
    return std::string(rest.substr(0, rest.find('\0')));
  }
  return {};
}

std::string interpreter_of(std::string_view head) {
  std::string_view line = head.substr(2, head.find('\n') - 2);
  while (line.starts_with(' ') || line.starts_with('\t')) line.remove_prefix(1);
  return std::string(line.substr(0, line.find_first_of(" \t\r")));
}

class Check {
 public:
  Check(const CommandLookup& lookup, const image::RootDirectory& root)
      : lookup_(lookup), root_(root) {}

  std::vector<ExecutableProblem> run() {
    std::optional<std::string> not_executable;
    for (const std::string& candidate : candidates_of(lookup_)) {
      if (in_volume(candidate)) return {};
      const auto file = root_.resolve(candidate);
      struct stat info{};
      if (!file || ::fstat(file->get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
      if ((info.st_mode & 0111) == 0) {
        not_executable = candidate;
        continue;
      }
      check_content(candidate);
      return std::move(problems_);
    }
    if (not_executable) {
      add(std::format("command '{}' is not executable", *not_executable),
          "set its execute permission in the image (chmod +x)");
    } else {
      add(std::format("command '{}' does not exist in the root file system", lookup_.command),
          "name a program that is in the image, or put it there");
    }
    return std::move(problems_);
  }

 private:
  void add(std::string what, std::string remedy) {
    problems_.push_back({std::move(what), std::move(remedy)});
  }

  bool in_volume(const std::string& path) const {
    return std::ranges::any_of(lookup_.volume_paths, [&](const std::string& volume) {
      return path == volume || path.starts_with(volume + "/");
    });
  }

  void check_content(const std::string& path) {
    const auto file = root_.open_for_reading(path);
    if (!file) return;
    std::string head(kHeadBytes, '\0');
    const ssize_t got = ::pread(file->get(), head.data(), head.size(), 0);
    if (got <= 0) return;
    head.resize(static_cast<std::size_t>(got));
    if (head.starts_with("#!")) {
      check_helper(path, interpreter_of(head), "interpreter");
    } else if (head.starts_with(ELFMAG)) {
      check_elf(path, head);
    }
  }

  void check_elf(const std::string& path, std::string_view head) {
    const auto header = value_at<Elf64_Ehdr>(head, 0);
    if (!header || header->e_ident[EI_CLASS] != ELFCLASS64) return;
    const auto wanted = elf_machine(lookup_.machine);
    if (wanted && header->e_machine != *wanted) {
      add(std::format("command '{}' is built for another machine than {}", path, lookup_.machine),
          std::format("use an image for {}", lookup_.machine));
      return;
    }
    if (const std::string loader = loader_of(head, *header); !loader.empty()) {
      check_helper(path, loader, "loader");
    }
  }

  void check_helper(const std::string& path, const std::string& helper, std::string_view kind) {
    if (!helper.starts_with('/') || in_volume(helper) || root_.resolve(helper)) return;
    add(std::format("command '{}' needs the {} '{}', which is not in the root file system", path,
                    kind, helper),
        std::format("add '{}' to the image", helper));
  }

  const CommandLookup& lookup_;
  const image::RootDirectory& root_;
  std::vector<ExecutableProblem> problems_;
};

}  // namespace

std::vector<ExecutableProblem> check_executable(const CommandLookup& lookup) {
  const auto root = image::RootDirectory::open(lookup.root_dir);
  if (!root) return {{root.error().message(), "name a directory that exists"}};
  return Check(lookup, *root).run();
}

}  // namespace perdure::runtime
