// Files: what is there, what is not, and files that change while they are open.
#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>

namespace lserve {
namespace {

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = ::testing::TempDir() + "lserve_file_test_" + std::to_string(::getpid());
    write("0123456789");
  }
  void TearDown() override { std::remove(path_.c_str()); }
  void write(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  std::string path_;
};

TEST_F(FileTest, ReadsByPosition) {
  auto file = File::open(path_);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->size(), 10U);
  std::array<std::byte, 4> bytes{};
  ASSERT_TRUE(file->read_at(6, bytes).ok());
  EXPECT_EQ(static_cast<char>(bytes[3]), '9');
  EXPECT_TRUE(file->read_at(10, {}).ok());
  EXPECT_FALSE(file->read_at(7, bytes).ok());
  EXPECT_FALSE(file->read_at(~uint64_t{0}, bytes).ok());
}

TEST_F(FileTest, MissingFilesAndDirectoriesAreErrors) {
  for (const std::string& path : {path_ + ".no", ::testing::TempDir(), std::string()}) {
    const auto file = File::open(path);
    ASSERT_FALSE(file.ok()) << path;
    EXPECT_EQ(file.status().kind(), ErrorKind::kModel);
  }
  EXPECT_TRUE(file_exists(path_));
  EXPECT_FALSE(file_exists(path_ + ".no"));
  EXPECT_TRUE(directory_exists(::testing::TempDir()));
  EXPECT_FALSE(directory_exists(path_));
}

// Without a writer an ordinary open() of a FIFO would wait for ever.
TEST_F(FileTest, FifosAreRefusedAtOnce) {
  const std::string fifo = path_ + ".fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const auto file = File::open(fifo);
  std::remove(fifo.c_str());
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().kind(), ErrorKind::kModel);
  EXPECT_EQ(file.status().message(), fifo + ": not a regular file");
}

TEST_F(FileTest, AClosedStandardStreamIsNotReused) {
  const int saved = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
  ::close(STDIN_FILENO);
  auto file = File::open(path_);
  const bool is_reused = ::fcntl(STDIN_FILENO, F_GETFD) != -1;
  if (saved >= 0) {
    ::dup2(saved, STDIN_FILENO);
    ::close(saved);
  }
  EXPECT_FALSE(is_reused);
  ASSERT_TRUE(file.ok()) << file.status().message();
  std::array<std::byte, 4> bytes{};
  ASSERT_TRUE(file->read_at(6, bytes).ok());
  EXPECT_EQ(static_cast<char>(bytes[3]), '9');
}

TEST_F(FileTest, NoticesThatItShrank) {
  auto file = File::open(path_);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->verify_unchanged().ok());
  ASSERT_EQ(::truncate(path_.c_str(), 5), 0);
  std::array<std::byte, 4> bytes{};
  EXPECT_FALSE(file->read_at(4, bytes).ok());
  EXPECT_FALSE(file->verify_unchanged().ok());
}

TEST_F(FileTest, WholeFilesAreLimited) {
  EXPECT_EQ(read_file(path_, 10).value(), "0123456789");
  EXPECT_FALSE(read_file(path_, 9).ok());
  const auto missing = read_file(path_ + ".no", 10, ErrorKind::kUsage);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.status().kind(), ErrorKind::kUsage);
  EXPECT_NE(missing.status().message().find(path_), std::string::npos);
}

}  // namespace
}  // namespace lserve
