#include "base/available_memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

#include "base/file.h"

namespace lserve {

namespace {

// The number at the start of a small system file, as its first word or after `key`.
std::optional<int64_t> number_in(const std::string& path, const std::string& key) {
  const Result<std::string> text = read_file(path, 1 << 20);
  if (!text.ok()) return std::nullopt;
  size_t at = key.empty() ? 0 : text->find(key);
  if (at == std::string::npos) return std::nullopt;
  at = text->find_first_not_of(" \t", at + key.size());
  if (at == std::string::npos) return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data() + at, text->data() + text->size(), value);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

}  // namespace

int64_t available_memory() {
  const int64_t page = ::sysconf(_SC_PAGESIZE);
  int64_t available = page * ::sysconf(_SC_PHYS_PAGES);
  if (const auto kib = number_in("/proc/meminfo", "MemAvailable:")) available = *kib * 1024;
  const std::string group = "/sys/fs/cgroup/memory.";
  const auto group_limit = number_in(group + "max", "");
  const auto group_used = number_in(group + "current", "");
  if (group_limit && group_used) {
    // Cached file pages count as used, but give way.
    const int64_t cached = number_in(group + "stat", "\nfile ").value_or(0);
    available = std::min(available, *group_limit - *group_used + cached);
  }
  const auto cut = [&](auto resource, const std::string& used_key) {
    struct rlimit limit {};
    if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    const int64_t used = 1024 * number_in("/proc/self/status", used_key).value_or(0);
    available = std::min(available, static_cast<int64_t>(limit.rlim_cur) - used);
  };
  cut(RLIMIT_AS, "VmSize:");
  cut(RLIMIT_DATA, "VmData:");
  return std::max<int64_t>(available, 0);
}

}  // namespace lserve
