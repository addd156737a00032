#include "attention/batch_view.h"

#include "base/check.h"
#include "kernels/prefill_attention.h"

namespace lserve {

void BatchView::add(const SequencePages& pages, int32_t q_len, PageSelection* selection) {
  CHECK_GE(q_len, 1);
  CHECK_LE(int64_t{q_len}, pages.kv_len());
  CHECK_LE(pages.kv_len(), int64_t{kUnlimited});
  BatchSequence sequence;
  if (!sequences.empty()) sequence.q_begin = sequences.back().q_begin + sequences.back().q_len;
  sequence.q_len = q_len;
  sequence.position = static_cast<int32_t>(pages.kv_len()) - q_len;
  sequence.selection = selection;
  for (const HeadClass c : {HeadClass::kRetrieval, HeadClass::kStreaming}) {
    std::vector<int32_t>& all = page_ids[index_of(c)];
    const std::span<const int32_t> ids = pages.table(c).ids();
    CHECK_LE(all.size() + ids.size(), static_cast<size_t>(kUnlimited));
    sequence.page_table[index_of(c)] = static_cast<int32_t>(all.size());
    all.insert(all.end(), ids.begin(), ids.end());
  }
  sequences.push_back(sequence);
}

void BatchView::reserve(int64_t num_sequences, int64_t max_pages) {
  sequences.reserve(static_cast<size_t>(num_sequences));
  for (std::vector<int32_t>& ids : page_ids) ids.reserve(static_cast<size_t>(max_pages));
}

void BatchView::clear() {
  sequences.clear();
  for (std::vector<int32_t>& ids : page_ids) ids.clear();
}

}  // namespace lserve
