#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/strings.h"

namespace lserve {

namespace {

int64_t mtime_ns(const struct stat& info) {
  return int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
}

// Opens for reading. A FIFO does not wait for its writer (the flag means nothing to a regular
// file), and the three standard streams are left alone even where one was closed: what the program
// reads from or prints to those must never be the file. Returns -1 and errno on failure.
int open_at_once(const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0 || fd > STDERR_FILENO) return fd;
  const int moved = ::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  const int why = errno;
  ::close(fd);
  errno = why;
  return moved;
}

// Reads `fd` to its end.
Result<std::string> drain(int fd, const std::string& name, uint64_t max_bytes, ErrorKind kind) {
  std::string text;
  std::array<char, 1 << 16> buffer;
  while (true) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::error(kind, cat(name, ": ", std::strerror(errno)));
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(got));
    if (text.size() > max_bytes) {
      return Status::error(
          kind, cat(name, ": larger than the ", with_separators(static_cast<int64_t>(max_bytes)),
                    " bytes allowed here"));
    }
  }
}

}  // namespace

Result<File> File::open(const std::string& path) {
  File file;
  file.path_ = path;
  file.fd_ = open_at_once(path.c_str());
  if (file.fd_ < 0) return model_error(cat(path, ": ", std::strerror(errno)));
  struct stat info {};
  if (::fstat(file.fd_, &info) != 0) return model_error(cat(path, ": ", std::strerror(errno)));
  if (!S_ISREG(info.st_mode)) return model_error(cat(path, ": not a regular file"));
  file.size_ = static_cast<uint64_t>(info.st_size);
  file.mtime_ns_ = mtime_ns(info);
  file.inode_ = info.st_ino;
  return file;
}

File::File(File&& other) noexcept { *this = std::move(other); }

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  std::swap(mtime_ns_, other.mtime_ns_);
  std::swap(inode_, other.inode_);
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

Status File::read_at(uint64_t offset, std::span<std::byte> out) const {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got =
        ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return model_error(cat(path_, ": ", std::strerror(errno)));
    if (got == 0) {
      return model_error(cat(path_, ": file ends at byte ", offset + done, ", ",
                             offset + out.size(), " expected (incomplete download?)"));
    }
    done += static_cast<size_t>(got);
  }
  return {};
}

Status File::verify_unchanged() const {
  struct stat now {};
  if (::stat(path_.c_str(), &now) != 0) {
    return model_error(cat(path_, ": ", std::strerror(errno), " (it was there at the start)"));
  }
  if (static_cast<uint64_t>(now.st_size) != size_ || mtime_ns(now) != mtime_ns_ ||
      now.st_ino != inode_) {
    return model_error(cat(path_, ": the file changed while it was being read"));
  }
  return {};
}

bool file_exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && !S_ISDIR(info.st_mode);
}

bool directory_exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

Result<std::string> read_file(const std::string& path, uint64_t max_bytes, ErrorKind kind) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Status::error(kind, cat(path, ": ", std::strerror(errno)));
  Result<std::string> text = drain(fd, path, max_bytes, kind);
  ::close(fd);
  return text;
}

Result<std::string> read_stdin(uint64_t max_bytes) {
  return drain(STDIN_FILENO, "standard input", max_bytes, ErrorKind::kUsage);
}

}  // namespace lserve
