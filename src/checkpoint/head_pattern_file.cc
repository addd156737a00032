// Blank lines are skipped and line ends of both kinds taken, since such tables are edited by hand.
// Gates outside of [0, 1] are training residue and are clipped; text that is no number is an error.
#include "checkpoint/head_pattern_file.h"

#include <algorithm>
#include <string_view>

#include "base/file.h"
#include "base/strings.h"
#include "checkpoint/file_checks.h"
#include "checkpoint/json_fields.h"

namespace lserve {

namespace {

constexpr const char* kGateFile = "full_attention_heads.tsv";
constexpr uint64_t kMaxGateBytes = 16 << 20;
constexpr uint64_t kMaxConfigBytes = 4 << 20;  // a model's config.json may stand beside it
// Those of --sink-tokens and --local-tokens: a number of the file is not to be blamed on a flag.
constexpr Range<int64_t> kSinkRange = {0, 1 << 24};
constexpr Range<int64_t> kLocalRange = {1, 1 << 24};
constexpr std::string_view kSeparators = " \t";

// Names file and line. Made for errors only: a hostile file has millions of lines.
std::string line_of(const HeadPatternFile& pattern, int64_t line_number) {
  return cat(pattern.path, ": line ", line_number);
}

// Adds the gates of one line.
Status parse_line(std::string_view line, int64_t line_number, HeadPatternFile& pattern) {
  while (true) {
    const size_t start = line.find_first_not_of(kSeparators);
    if (start == std::string_view::npos) return {};
    line.remove_prefix(start);
    const std::string_view word = line.substr(0, line.find_first_of(kSeparators));
    const Result<double> gate = parse_double(word, "gate");
    if (!gate.ok()) {
      return model_error(cat(line_of(pattern, line_number), ": ", gate.status().message()));
    }
    pattern.gates.push_back(std::clamp(*gate, 0.0, 1.0));
    line.remove_prefix(word.size());
  }
}

Status parse_gates(std::string_view text, HeadPatternFile& pattern) {
  for (int64_t line_number = 1; !text.empty(); ++line_number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t before = pattern.gates.size();
    RETURN_IF_ERROR(parse_line(line, line_number, pattern));
    const auto columns = static_cast<int64_t>(pattern.gates.size() - before);
    if (columns == 0) continue;
    if (pattern.num_layers > 0 && columns != pattern.num_kv_heads) {
      return model_error(cat(line_of(pattern, line_number), " has ", columns,
                             " gates, the lines before it have ", pattern.num_kv_heads));
    }
    pattern.num_kv_heads = columns;
    ++pattern.num_layers;
  }
  if (pattern.num_layers > 0) return {};
  return model_error(cat(pattern.path, ": no gates in it"));
}

Status read_window(const std::string& path, HeadPatternFile& pattern) {
  if (!file_exists(path)) return {};
  ASSIGN_OR_RETURN(const Json config, read_json_object(path, kMaxConfigBytes));
  const JsonFields fields(config, path);
  ASSIGN_OR_RETURN(pattern.sink_tokens, fields.find_int("sink_size", kSinkRange));
  ASSIGN_OR_RETURN(pattern.local_tokens, fields.find_int("recent_size", kLocalRange));
  return {};
}

}  // namespace

Result<HeadPatternFile> read_head_pattern(const std::string& path) {
  HeadPatternFile pattern;
  pattern.path = directory_exists(path) ? cat(path, "/", kGateFile) : path;
  {
    ASSIGN_OR_RETURN(const File file, File::open(pattern.path));
    RETURN_IF_ERROR(check_not_lfs_pointer(file));
  }
  ASSIGN_OR_RETURN(const std::string text, read_file(pattern.path, kMaxGateBytes));
  RETURN_IF_ERROR(parse_gates(text, pattern));
  const size_t slash = pattern.path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : pattern.path.substr(0, slash);
  RETURN_IF_ERROR(read_window(directory + "/config.json", pattern));
  return pattern;
}

}  // namespace lserve
