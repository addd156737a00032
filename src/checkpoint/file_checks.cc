// A clone without Git-LFS leaves small text files where the weights should be; JSON and weights
// alike are told apart from those before they are parsed.
#include "checkpoint/file_checks.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "base/strings.h"

namespace lserve {

namespace {
constexpr std::string_view kLfsMark = "version https://git-lfs";
constexpr uint64_t kMaxLfsPointerBytes = 1024;  // by its specification
}  // namespace

Status check_not_lfs_pointer(const File& file) {
  if (file.size() < kLfsMark.size() || file.size() > kMaxLfsPointerBytes) return {};
  std::string start(kLfsMark.size(), '\0');
  RETURN_IF_ERROR(file.read_at(0, std::as_writable_bytes(std::span(start))));
  if (start != kLfsMark) return {};
  return model_error(cat(file.path(), " is a Git-LFS pointer (", file.size(),
                         " bytes), not the file itself: fetch it with \"git lfs pull\""));
}

Result<Json> read_json_object(const std::string& path, uint64_t max_bytes, JsonLimits limits) {
  ASSIGN_OR_RETURN(const File file, File::open(path));
  RETURN_IF_ERROR(check_not_lfs_pointer(file));
  if (file.size() > max_bytes) {
    return model_error(
        cat(path, ": ", file.size(), " bytes, at most ", max_bytes, " are allowed here"));
  }
  std::string text(file.size(), '\0');
  RETURN_IF_ERROR(file.read_at(0, std::as_writable_bytes(std::span(text))));
  ASSIGN_OR_RETURN(Json root, Json::parse(text, path, limits));
  if (!root.is_object()) return model_error(cat(path, ": the root is no JSON object"));
  return root;
}

}  // namespace lserve
