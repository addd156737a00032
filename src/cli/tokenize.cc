// lserve tokenize: token ids of a text.
#include "base/json.h"
#include "base/strings.h"
#include "cli/engine_options.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/verbs.h"

namespace lserve {

Status tokenize_verb(CommandLine& options) {
  ASSIGN_OR_RETURN(const std::string path, model_path(options));
  ASSIGN_OR_RETURN(const std::string text, read_input(options));
  ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::open(path));
  ASSIGN_OR_RETURN(const auto builder, load_prompt_builder(*checkpoint));
  const std::vector<int32_t> ids = builder->tokenizer().encode_with_bos(
      text, options.get_flag("parse-special") ? SpecialTokens::kParse : SpecialTokens::kAsText);
  if (options.get_flag("json")) {
    Json list = Json::array();
    for (const int32_t id : ids) list.push_back(id);
    print(Json::object()
              .set("count", static_cast<int64_t>(ids.size()))
              .set("token_ids", std::move(list))
              .dump() +
          "\n");
    return {};
  }
  std::string lines;
  for (const int32_t id : ids) {
    lines += cat(id, "\t", quoted(builder->tokenizer().token_bytes(id)), "\n");
  }
  print(lines);
  return {};
}

}  // namespace lserve
