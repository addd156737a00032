// A file appears whole or not at all, whatever goes wrong.
#include "base/atomic_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/file.h"
#include "support/temp_directory.h"

namespace lserve {
namespace {

namespace fs = std::filesystem;

Status write_text(AtomicFile& file, const std::string& text) {
  return file.write(std::as_bytes(std::span(text)));
}

std::string text_of(const std::string& path) { return read_file(path, 1 << 20).value(); }

int64_t num_files(const TempDirectory& directory) {
  return std::distance(fs::directory_iterator(directory.path()), fs::directory_iterator());
}

TEST(AtomicFile, AppearsAtCommitOnly) {
  const TempDirectory directory;
  const std::string path = directory.path() + "/out";
  {
    auto file = AtomicFile::create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(write_text(*file, "hello ").ok());
    ASSERT_TRUE(write_text(*file, "world").ok());
    EXPECT_EQ(file->size(), 11U);
    EXPECT_FALSE(fs::exists(path));
    AtomicFile moved = std::move(file).value();
    ASSERT_TRUE(moved.commit().ok());
  }
  EXPECT_EQ(text_of(path), "hello world");
  EXPECT_EQ(num_files(directory), 1);
}

TEST(AtomicFile, WithoutCommitTheOldFileStays) {
  const TempDirectory directory;
  const std::string path = directory.write("out", "old");
  {
    auto file = AtomicFile::create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(write_text(*file, "new").ok());
  }
  EXPECT_EQ(text_of(path), "old");
  EXPECT_EQ(num_files(directory), 1);
}

TEST(AtomicFile, ALinkStaysALink) {
  const TempDirectory directory;
  const std::string path = directory.write("target", "old");
  fs::create_symlink("target", directory.path() + "/link");
  auto file = AtomicFile::create(directory.path() + "/link");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(write_text(*file, "new").ok());
  ASSERT_TRUE(file->commit().ok());
  EXPECT_TRUE(fs::is_symlink(directory.path() + "/link"));
  EXPECT_EQ(text_of(path), "new");
}

TEST(AtomicFile, PlacesThatCannotBeWritten) {
  const TempDirectory directory;
  for (const std::string& path :
       {directory.path(), directory.path() + "/none/out", std::string("/dev/full"), std::string(),
        directory.path() + "/" + std::string(300, 'x')}) {
    const auto file = AtomicFile::create(path);
    ASSERT_FALSE(file.ok()) << path;
    EXPECT_EQ(file.status().kind(), ErrorKind::kRuntime);
    EXPECT_NE(file.status().message().find("cannot be written"), std::string::npos);
  }
  EXPECT_EQ(num_files(directory), 0);
}

TEST(AtomicFile, AFullDiskLeavesTheOldFile) {
  const TempDirectory directory;
  const std::string path = directory.write("out", "old");
  // A limit on the size of files fails as a full disk does, and needs no disk.
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { .rlim_cur = 1000, .rlim_max = before.rlim_max };
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  Status status;
  {
    auto file = AtomicFile::create(path);
    if (file.ok()) status = write_text(*file, std::string(5000, 'x'));
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, old_handler);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.kind(), ErrorKind::kRuntime);
  EXPECT_NE(status.message().find("after byte 1000"), std::string::npos) << status.message();
  EXPECT_EQ(text_of(path), "old");
  EXPECT_EQ(num_files(directory), 1);
}

}  // namespace
}  // namespace lserve
