// What is done token by token: embed, rms_norm, silu_mul, rope, sample; and select_pages.
#include <memory>

#include "base/strings.h"
#include "kernel_bench_workloads.h"

namespace lserve::bench {

namespace {

void add_elementwise(const Bench& bench, int64_t tokens, std::vector<Workload>* list) {
  Backend* backend = bench.backend;
  Backend* reference = bench.reference;
  Random* random = bench.random;
  struct Data {
    Floats x, weight, out, gate, up, q, k, cos_sin;
  };
  auto d = std::make_shared<Data>(
      Data{normals(random, tokens * kHidden), normals(random, kHidden),
           Floats(static_cast<size_t>(tokens * kHidden)), normals(random, tokens * kFfn),
           normals(random, tokens * kFfn), normals(random, tokens * kQHeads * kHeadDim),
           normals(random, tokens * kKvHeads * kHeadDim),
           Floats(static_cast<size_t>(tokens * kHeadDim), 0.7F)});
  const auto add = [&](const char* name, int64_t floats, auto op) {
    list->push_back({cat(name, ", ", tokens, tokens == 1 ? " row" : " rows"), Bound::kNone,
                     static_cast<double>(tokens * floats * 4), 0, [=] { op(backend); },
                     [=] { op(reference); }, 1.0});
  };
  add("rms_norm", 2 * kHidden, [d](Backend* on) {
    on->rms_norm(
        {view(d->x, kHidden), {d->weight.data(), Shape({kHidden})}, view(d->out, kHidden)});
  });
  add("silu_mul", 3 * kFfn, [d](Backend* on) {
    on->silu_mul({view(d->gate, kFfn), view(d->up, kFfn), view(d->gate, kFfn)});
  });
  add("rope", 2 * (kQHeads + kKvHeads) * kHeadDim, [d, tokens](Backend* on) {
    on->rope({heads(d->q, kQHeads),
              heads(d->k, kKvHeads),
              {d->cos_sin.data(), Shape({tokens, 2, kHeadDim / 2})}});
  });
}

void add_embed(const Bench& bench, int64_t tokens, std::vector<Workload>* list) {
  struct Data {
    Weight table, plain_table;
    std::vector<int32_t> ids;
    Floats out;
  };
  constexpr auto kFormat = WeightFormat::kQ8_0;
  const auto matrix = random_matrix(bench.random, kFormat, kVocab, kHidden);
  const RawWeight raw{kFormat, kVocab, kHidden, matrix};
  auto data = std::make_shared<Data>();
  data->table = std::move(bench.backend->load_weight(raw).value());
  data->plain_table = std::move(bench.reference->load_weight(raw).value());
  for (int64_t t = 0; t < tokens; ++t) {
    data->ids.push_back(static_cast<int32_t>(bench.random->integer(0, kVocab - 1)));
  }
  data->out.resize(static_cast<size_t>(tokens * kHidden));
  const auto on = [data](Backend* backend, const Weight* table) {
    backend->embed({table, data->ids, view(data->out, kHidden)});
  };
  Backend* backend = bench.backend;
  Backend* reference = bench.reference;
  list->push_back({cat("embed q8_0, ", tokens, " rows"), Bound::kNone,
                   static_cast<double>(tokens * kHidden * 5), 0, [=] { on(backend, &data->table); },
                   [=] { on(reference, &data->plain_table); }, 1.0});
}

// Shared by all backends of the host, so there is nothing to compare with.
void add_host(const Bench& bench, std::vector<Workload>* list) {
  struct Data {
    Floats logits, scores;
    std::vector<SampleRow> rows = {{{.temperature = 0.7F, .top_k = 40, .top_p = 0.95F}, 1}};
    std::vector<int32_t> tokens = {0};
    std::vector<int32_t> num_pages = {1024, 1024, 1024};
    std::vector<int32_t> which = {0, 1, 2};
    std::vector<int32_t> selected = std::vector<int32_t>(3 * 64);
  };
  auto d = std::make_shared<Data>();
  d->logits = normals(bench.random, kVocab);
  d->scores = normals(bench.random, 3 * 1024);
  const auto add = [&](const char* name, double bytes, auto op) {
    Backend* backend = bench.backend;
    Backend* reference = bench.reference;
    list->push_back(
        {name, Bound::kNone, bytes, 0, [=] { op(backend); }, [=] { op(reference); }, 1});
  };
  add("sample, temperature, top_k 40, top_p, 1 row", kVocab * 4.0, [d](Backend* on) {
    on->sample({view(d->logits, kVocab), d->rows, d->tokens});
  });
  add("select_pages, 64 of 1024 pages, 3 items", 3 * 1024 * 4.0, [d](Backend* on) {
    on->select_pages({view(d->scores, 1024),
                      d->num_pages,
                      d->which,
                      64,
                      2,
                      {d->selected.data(), Shape({3, 64})}});
  });
}

}  // namespace

void add_tokens(const Bench& bench, std::vector<Workload>* list) {
  add_elementwise(bench, 512, list);
  add_elementwise(bench, 1, list);
  add_embed(bench, 512, list);
  add_host(bench, list);
}

}  // namespace lserve::bench
