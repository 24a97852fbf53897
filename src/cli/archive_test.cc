// Proves: an exported archive appears under its name complete or not at all, is never written over
// something, and is readable by its owner only; import passes what it was given.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cli/archive_file.h"
#include "cli/test_support.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;
namespace fs = std::filesystem;

struct ArchiveTest : testing::Test {
  ArchiveTest() {
    std::string pattern = testing::TempDir() + "perdure-cli-XXXXXX";
    directory = ::mkdtemp(pattern.data());
    archive = directory / "web.capsule";
    program.behaviour = [this](const v1::Request& request, int fd) {
      return export_daemon(request, fd);
    };
  }
  ~ArchiveTest() override { fs::remove_all(directory); }

  std::vector<v1::Response> export_daemon(const v1::Request& request, int fd) {
    if (write_archive) {
      EXPECT_EQ(::write(fd, "archive", 7), 7);
    }
    if (meanwhile) meanwhile();
    if (failure) return {*failure};
    v1::Response response;
    auto& reply = *response.mutable_export_();
    reply.set_name(request.export_().name());
    reply.set_generation(request.export_().has_generation() ? request.export_().generation()
                                                            : "1.2f.42");
    reply.set_bytes(7);
    return {response};
  }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), {}));
  }

  fs::path directory;
  fs::path archive;
  ProgramRun program;
  bool write_archive = true;
  std::function<void()> meanwhile;
  std::optional<v1::Response> failure;
};

TEST_F(ArchiveTest, ExportMakesAFileForItsOwnerOnly) {
  EXPECT_EQ(program.run({"export", "web", archive.string(), "-g", "1.2f.40"}), ExitCode::kOk)
      << program.terminal.err_text;
  struct stat status{};
  ASSERT_EQ(::stat(archive.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  EXPECT_EQ(status.st_size, 7);
  EXPECT_EQ(files(), 1U);
  EXPECT_TRUE(program.terminal.out_text.contains("generation 1.2f.40"))
      << program.terminal.out_text;
}

TEST_F(ArchiveTest, WhatIsThereIsNotReplaced) {
  std::ofstream(archive) << "mine";
  EXPECT_EQ(program.run({"export", "web", archive.string()}), ExitCode::kRefused);
  EXPECT_TRUE(program.daemon.requests.empty());
  EXPECT_EQ(fs::file_size(archive), 4U);
}

TEST_F(ArchiveTest, WhatAppearsMeanwhileIsNotReplaced) {
  meanwhile = [this] { std::ofstream(archive) << "mine"; };
  EXPECT_EQ(program.run({"export", "web", archive.string()}), ExitCode::kRefused);
  EXPECT_EQ(fs::file_size(archive), 4U);
  EXPECT_EQ(files(), 1U);
}

TEST_F(ArchiveTest, AFailureLeavesNothing) {
  failure = error_response(v1::ERROR_CORRUPT, "generation 1.2f.42 of web does not verify");
  EXPECT_EQ(program.run({"export", "web", archive.string()}), ExitCode::kCorrupt);
  EXPECT_EQ(files(), 0U);
}

TEST_F(ArchiveTest, AnArchiveOfAnotherSizeIsNotKept) {
  write_archive = false;
  EXPECT_EQ(program.run({"export", "web", archive.string()}), ExitCode::kFailure);
  EXPECT_EQ(files(), 0U);
  EXPECT_TRUE(unfolded(program.terminal.err_text).contains("has 0 bytes, perdured wrote 7"))
      << program.terminal.err_text;
}

TEST_F(ArchiveTest, ADirectoryThatIsNotThereIsNamed) {
  EXPECT_EQ(program.run({"export", "web", (directory / "no" / "web.capsule").string()}),
            ExitCode::kNotFound);
  EXPECT_TRUE(program.terminal.err_text.contains("/no'")) << program.terminal.err_text;
}

TEST_F(ArchiveTest, NoArchiveOnATerminal) {
  program.terminal.terminal = true;
  EXPECT_EQ(program.run({"export", "web", "-"}), ExitCode::kUsage);
  EXPECT_TRUE(program.daemon.requests.empty());
}

TEST_F(ArchiveTest, ImportPassesTheFileAndTheName) {
  std::ofstream(archive) << "archive";
  std::string read;
  program.behaviour = [&](const v1::Request&, int fd) {
    char buffer[16];
    read.assign(buffer,
                static_cast<std::size_t>(std::max<ssize_t>(0, ::read(fd, buffer, sizeof buffer))));
    v1::Response response;
    *response.mutable_import()->mutable_status() = stopped_job();
    return std::vector{response};
  };
  EXPECT_EQ(program.run({"import", archive.string(), "--name", "web2"}), ExitCode::kOk)
      << program.terminal.err_text;
  EXPECT_EQ(read, "archive");
  EXPECT_EQ(program.daemon.requests.back().import().name(), "web2");
  EXPECT_EQ(program.run({"import", (directory / "none").string()}), ExitCode::kNotFound);
}

}  // namespace
}  // namespace perdure::cli
