#include "tokenizer/detokenizer.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/utf8.h"

namespace lserve {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, std::vector<std::string> stops)
    : tokenizer_(tokenizer), strip_space_(tokenizer.strips_first_space()) {
  for (std::string& text : stops) {
    CHECK(!text.empty());
    text = to_valid_utf8(text);  // as the output is, so that a match never cuts a character
    std::vector<size_t> border(text.size(), 0);
    for (size_t i = 1; i < text.size(); ++i) {
      size_t length = border[i - 1];
      while (length > 0 && text[length] != text[i]) length = border[length - 1];
      border[i] = length + (text[length] == text[i] ? 1 : 0);
    }
    stops_.push_back({std::move(text), std::move(border), 0});
  }
}

// Appends to held_; at the first complete stop string held_ is cut before it.
void Detokenizer::feed(std::string_view valid_text) {
  for (const char c : valid_text) {
    held_ += c;
    size_t longest = 0;
    for (Stop& stop : stops_) {
      while (stop.matched > 0 && stop.text[stop.matched] != c) {
        stop.matched = stop.border[stop.matched - 1];
      }
      if (stop.text[stop.matched] == c) ++stop.matched;
      if (stop.matched == stop.text.size()) longest = std::max(longest, stop.matched);
    }
    if (longest > 0) {
      held_.resize(held_.size() - longest);
      stopped_ = true;
      return;
    }
  }
}

std::string Detokenizer::push(int32_t token) {
  if (stopped_ || finished_ || tokenizer_.is_special(token)) return {};
  std::string_view bytes = tokenizer_.token_bytes(token);
  if (strip_space_ && !bytes.empty()) {
    strip_space_ = false;
    if (bytes[0] == ' ') bytes.remove_prefix(1);
  }
  incomplete_ += bytes;
  const size_t whole = complete_utf8_prefix(incomplete_);
  feed(to_valid_utf8(std::string_view(incomplete_).substr(0, whole)));
  incomplete_.erase(0, whole);
  if (stopped_) return std::exchange(held_, {});

  size_t uncertain = 0;
  for (const Stop& stop : stops_) uncertain = std::max(uncertain, stop.matched);
  const size_t certain = held_.size() - uncertain;
  std::string text = held_.substr(0, certain);
  held_.erase(0, certain);
  return text;
}

std::string Detokenizer::finish() {
  if (!stopped_ && !finished_ && !incomplete_.empty()) feed("\xEF\xBF\xBD");
  finished_ = true;
  incomplete_.clear();
  return std::exchange(held_, {});
}

}  // namespace lserve
