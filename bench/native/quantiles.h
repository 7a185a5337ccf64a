// What the programmes of the benches print of many times: the fields of `Quantiles` in
// ../statistics.ts, and by the same definition.
#pragma once

#include <algorithm>
#include <cstdio>
#include <vector>

// Sorts them. Of none, zeroes.
inline void PrintQuantiles(std::vector<double>& microseconds) {
  std::sort(microseconds.begin(), microseconds.end());
  const auto at = [&](size_t thousandths) {
    if (microseconds.empty()) return 0.0;
    const size_t rank = (microseconds.size() * thousandths + 999) / 1000;
    return microseconds[std::max<size_t>(1, rank) - 1];
  };
  std::printf("\"p50Us\":%f,\"p90Us\":%f,\"p99Us\":%f,\"p999Us\":%f,\"mostUs\":%f", at(500),
              at(900), at(990), at(999), at(1000));
}
