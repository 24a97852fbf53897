// Replays a corpus through a fuzz target without libFuzzer: every file of every directory named on the
// command line, then each file truncated at every power of two and with single bytes flipped.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::vector<std::uint8_t> read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::size_t replay(const std::vector<std::uint8_t>& seed) {
  std::size_t runs = 1;
  LLVMFuzzerTestOneInput(seed.data(), seed.size());
  for (std::size_t keep = 1; keep < seed.size(); keep *= 2, ++runs) {
    const std::vector<std::uint8_t> cut(seed.begin(), seed.begin() + static_cast<std::ptrdiff_t>(keep));
    LLVMFuzzerTestOneInput(cut.data(), cut.size());
  }
  const std::size_t step = seed.size() / 256 + 1;
  for (std::size_t at = 0; at < seed.size(); at += step, ++runs) {
    std::vector<std::uint8_t> flipped = seed;
    flipped[at] ^= 0xff;
    LLVMFuzzerTestOneInput(flipped.data(), flipped.size());
  }
  return runs;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t files = 0;
  std::size_t runs = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i])) {
      if (!entry.is_regular_file()) continue;
      ++files;
      runs += replay(read_file(entry.path()));
    }
  }
  std::printf("%zu corpus files, %zu inputs\n", files, runs);
  return files == 0 ? 1 : 0;
}
