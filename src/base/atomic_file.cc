#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/strings.h"

namespace lserve {

namespace {

// The file that `path` leads to, if it is there; else the path itself.
std::string followed(const std::string& path) {
  char* real = ::realpath(path.c_str(), nullptr);
  if (real == nullptr) return path;
  std::string result(real);
  std::free(real);
  return result;
}

// The new name is durable only once its folder is. Not every file system can do this, and the file
// is in its place by now: no error.
void sync_folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  (void)::fsync(fd);
  ::close(fd);
}

}  // namespace

Result<AtomicFile> AtomicFile::create(const std::string& path) {
  if (path.empty()) return runtime_error("a file without a name cannot be written");
  AtomicFile file;
  file.path_ = followed(path);
  struct stat info {};
  if (::stat(file.path_.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return runtime_error(cat(path, ": cannot be written: not a regular file"));
  }
  std::string temporary = cat(file.path_, ".", ::getpid(), ".part");
  // Left by a process that had this number before and was killed.
  ::unlink(temporary.c_str());
  file.fd_ = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file.fd_ < 0) return file.failed("cannot be written");
  file.temporary_ = std::move(temporary);
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept { *this = std::move(other); }

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status AtomicFile::failed(const char* what) const {
  return runtime_error(cat(path_, ": ", what, ": ", std::strerror(errno)));
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  CHECK_GE(fd_, 0);
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return failed(cat("cannot be written after byte ", size_).c_str());
    bytes = bytes.subspan(static_cast<size_t>(put));
    size_ += static_cast<uint64_t>(put);
  }
  return {};
}

Status AtomicFile::commit() {
  CHECK_GE(fd_, 0);
  if (::fsync(fd_) != 0) return failed("cannot be written");
  // Some file systems report a failed write only here.
  if (::close(std::exchange(fd_, -1)) != 0) return failed("cannot be written");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return failed("cannot be replaced");
  temporary_.clear();
  sync_folder_of(path_);
  return {};
}

}  // namespace lserve
