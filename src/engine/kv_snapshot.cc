#include "engine/kv_snapshot.h"

#include <algorithm>
#include <cstring>

#include "base/hash.h"
#include "base/strings.h"
#include "model/rope_table.h"

namespace lserve {

namespace {

static_assert(kKvFilePageTokens == kPageSize);
static_assert(kNumKvRecords == kNumHeadClasses);
constexpr std::array<HeadClass, kNumHeadClasses> kClasses = {HeadClass::kRetrieval,
                                                             HeadClass::kStreaming};

template <typename T>
uint64_t hash_of(const std::vector<T>& values, uint64_t seed = 0) {
  return hash64(std::as_bytes(std::span(values)), seed);
}

std::string model_identity(const Engine& engine) {
  const ModelConfig& m = engine.config();
  const std::string shape = cat(m.architecture, ", ", m.num_layers, " layers, ", m.num_q_heads, "/",
                                m.num_kv_heads, " heads x ", m.head_dim);
  const std::string rest =
      cat(shape, m.hidden_size, " ", m.intermediate_size, " ", m.vocab_size, " ", m.rms_norm_eps);
  return cat(shape, ", weights ",
             hash_text(hash64(std::as_bytes(std::span(rest)), engine.weights().content_hash)));
}

std::string adapter_identity(const Engine& engine) {
  const uint64_t hash = engine.weights().adapter_hash;
  return hash == 0 ? "none" : hash_text(hash);
}

// The frequencies and the magnitude say all that theta, type and factors do.
std::string rope_identity(const Engine& engine) {
  const RopeConfig& rope = engine.config().rope;
  const std::vector<float> frequencies = rope_frequencies(rope, engine.config().head_dim);
  return cat("theta ", rope.theta, ", factor ", rope.factor, ", magnitude ", rope.attention_factor,
             ", frequencies ", hash_text(hash_of(frequencies, static_cast<uint64_t>(rope.type))));
}

std::string statistics_identity(const Engine& engine) {
  const KvCacheConfig& kv = engine.plan().memory.kv;
  if (!kv.key_stats) return "none";
  return cat(page_score_name(kv.page_score), " in ", key_stats_format_name(kv.stats_format),
             ", logical page ", kv.logical_page_size);
}

std::string pattern_identity(const Engine& engine) {
  const HeadPattern& pattern = engine.plan().inputs.pattern;
  if (pattern.num_streaming() == 0) return "no streaming heads";
  std::vector<int32_t> heads;
  for (int64_t layer = 0; layer < pattern.num_layers(); ++layer) {
    heads.push_back(-1);
    const auto streaming = pattern.heads(layer, HeadClass::kStreaming);
    heads.insert(heads.end(), streaming.begin(), streaming.end());
  }
  const AttentionConfig& a = engine.plan().inputs.attention;
  return cat(pattern.num_streaming(), " of ", pattern.num_layers() * pattern.num_kv_heads(),
             " KV heads streaming (", hash_text(hash_of(heads)), "), sink ", a.sink_tokens,
             ", local ", a.local_tokens, ", in prefill ", a.prefill_window().local_tokens);
}

// The first page of the held tail, not before the sink's end.
int64_t window_page(std::span<const int32_t> page_ids, int64_t sink_pages) {
  auto page = static_cast<int64_t>(page_ids.size());
  while (page > sink_pages && page_ids[static_cast<size_t>(page) - 1] != kNoPage) --page;
  return page;
}

KvFileHead head_of(Engine& engine, const Sequence& sequence) {
  KvFileHead head;
  head.fields = kv_identity(engine);
  head.arithmetic = engine.backend().arithmetic();
  head.num_pages = sequence.kv_len() / kPageSize;
  for (const HeadClass c : kClasses) {
    head.record_bytes[index_of(c)] = engine.cache().config().page_bytes(c);
  }
  if (head.record_bytes[index_of(HeadClass::kStreaming)] > 0) {
    head.sink_pages =
        std::min<int64_t>(head.num_pages, engine.plan().inputs.attention.num_sink_pages());
    const auto ids = sequence.pages.table(HeadClass::kStreaming).ids();
    head.window_page = window_page(ids.first(static_cast<size_t>(head.num_pages)), head.sink_pages);
  }
  return head;
}

void gather(Backend& backend, const std::vector<std::span<std::byte>>& parts,
            std::span<std::byte> record) {
  for (const std::span<std::byte> part : parts) {
    backend.download(record.data(), part.data(), part.size());
    record = record.subspan(part.size());
  }
  CHECK(record.empty());
}

void scatter(Backend& backend, std::span<const std::byte> record,
             const std::vector<std::span<std::byte>>& parts) {
  for (const std::span<std::byte> part : parts) {
    backend.upload(part.data(), record.data(), part.size());
    record = record.subspan(part.size());
  }
  CHECK(record.empty());
}

int32_t page_id(const Sequence& sequence, HeadClass c, int64_t page_idx) {
  return sequence.pages.table(c).ids()[static_cast<size_t>(page_idx)];
}

// kModel, naming the first thing that differs.
Status check_identity(const Engine& engine, const KvFileReader& file) {
  const std::vector<KvFileField> own = kv_identity(engine);
  const std::vector<KvFileField>& saved = file.head().fields;
  for (const KvFileField& field : own) {
    const auto found = std::ranges::find(saved, field.name, &KvFileField::name);
    const std::string value = found == saved.end() ? "nothing" : quoted(found->value);
    if (found != saved.end() && found->value == field.value) continue;
    return model_error(cat(file.path(), " was saved with ", field.name, " ", value,
                           ", this run has ", quoted(field.value)));
  }
  if (saved.size() != own.size()) {
    return model_error(cat(file.path(), " was saved with ", saved.size(), " properties, this ",
                           "program knows ", own.size()));
  }
  return {};
}

// What the same identity implies, unless the head was made up.
Status check_shape(Engine& engine, const KvFileReader& file) {
  const KvFileHead& head = file.head();
  bool good = true;
  for (const HeadClass c : kClasses) {
    good &= head.record_bytes[index_of(c)] == engine.cache().config().page_bytes(c);
  }
  const int64_t sink_pages = engine.plan().inputs.attention.num_sink_pages();
  const bool streams = head.record_bytes[index_of(HeadClass::kStreaming)] > 0;
  good &= head.sink_pages == (streams ? std::min(head.num_pages, sink_pages) : 0);
  return good ? Status() : model_error(cat(file.path(), ": its pages are not those of this run"));
}

// Pages of the prompt that the file can give; 0 if the streaming heads lack a page there.
int64_t resumable_pages(const Engine& engine, const KvFileHead& head, int64_t shared_tokens,
                        int64_t prompt_tokens) {
  const int64_t pages = std::min(shared_tokens, prompt_tokens - 1) / kPageSize;
  if (head.record_bytes[index_of(HeadClass::kStreaming)] == 0) return pages;
  // As SequencePages::drop_outside_window: what the token after these pages may see.
  const AttentionConfig& a = engine.plan().inputs.attention;
  const int64_t local = std::max(a.decode_window().local_tokens, a.prefill_window().local_tokens);
  const int64_t window_begin = std::max<int64_t>(0, pages * kPageSize + 1 - local);
  const int64_t needed = std::max(head.sink_pages, window_begin / kPageSize);
  return pages <= head.sink_pages || needed >= head.window_page ? pages : 0;
}

// Reads all records, so that damage anywhere is found, and keeps those of the first `pages` pages.
Status read_pages(Engine& engine, KvFileReader& file, int64_t pages, Sequence* sequence) {
  const KvFileHead& head = file.head();
  std::vector<std::byte> record(
      static_cast<size_t>(std::max(head.record_bytes[0], head.record_bytes[1])));
  for (int64_t page_idx = 0; page_idx < head.num_pages; ++page_idx) {
    const bool wanted = page_idx < pages;
    if (wanted) RETURN_IF_ERROR(sequence->pages.extend(kPageSize));
    for (const HeadClass c : kClasses) {
      if (!head.has_record(index_of(c), page_idx)) continue;
      const auto bytes =
          std::span(record).first(static_cast<size_t>(head.record_bytes[index_of(c)]));
      RETURN_IF_ERROR(file.read_record(bytes));
      if (!wanted) continue;
      scatter(engine.backend(), bytes,
              engine.cache().page_memory(c, page_id(*sequence, c, page_idx)));
    }
    if (!wanted) continue;
    // Never more than a run of its own holds; and a page that the file lacks leaves at once.
    const int64_t len = sequence->kv_len();
    const int64_t there = std::max<int64_t>(1, len + 1 - head.window_page * kPageSize);
    sequence->pages.drop_outside_window(engine.plan().inputs.attention.sink_tokens,
                                        std::min(there, engine.plan().inputs.kept_window()));
  }
  return file.verify_unchanged();
}

}  // namespace

std::vector<KvFileField> kv_identity(const Engine& engine) {
  return {{"model", model_identity(engine)},
          {"LoRA adapter", adapter_identity(engine)},
          {"rope", rope_identity(engine)},
          {"KV format", kv_format_name(engine.plan().inputs.kv_format)},
          {"page statistics", statistics_identity(engine)},
          {"head pattern", pattern_identity(engine)}};
}

Result<SavedKv> save_kv(Engine& engine, const Sequence& sequence, const std::string& path) {
  const KvFileHead head = head_of(engine, sequence);
  ASSIGN_OR_RETURN(
      KvFileWriter file,
      KvFileWriter::create(
          path, head, std::span(sequence.tokens).first(static_cast<size_t>(head.num_tokens()))));
  std::vector<std::byte> record(
      static_cast<size_t>(std::max(head.record_bytes[0], head.record_bytes[1])));
  for (int64_t page_idx = 0; page_idx < head.num_pages; ++page_idx) {
    for (const HeadClass c : kClasses) {
      if (!head.has_record(index_of(c), page_idx)) continue;
      const auto bytes =
          std::span(record).first(static_cast<size_t>(head.record_bytes[index_of(c)]));
      gather(engine.backend(), engine.cache().page_memory(c, page_id(sequence, c, page_idx)),
             bytes);
      RETURN_IF_ERROR(file.write_record(bytes));
    }
  }
  RETURN_IF_ERROR(file.commit());
  return SavedKv{head.num_tokens(), file.size()};
}

Result<RestoredKv> restore_kv(Engine& engine, KvFileReader& file, std::span<const int32_t> prompt) {
  RETURN_IF_ERROR(check_identity(engine, file));
  RETURN_IF_ERROR(check_shape(engine, file));
  ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, file.read_tokens());
  RestoredKv restored{.sequence = engine.new_sequence()};
  restored.file_tokens = file.head().num_tokens();
  restored.same_arithmetic = file.head().arithmetic == engine.backend().arithmetic();
  const auto first_other = std::ranges::mismatch(tokens, prompt).in1;
  restored.shared_tokens = first_other - tokens.begin();
  const int64_t pages = resumable_pages(engine, file.head(), restored.shared_tokens,
                                        static_cast<int64_t>(prompt.size()));
  RETURN_IF_ERROR(read_pages(engine, file, pages, &restored.sequence));
  restored.sequence.tokens.assign(tokens.begin(), tokens.begin() + pages * kPageSize);
  return restored;
}

}  // namespace lserve
