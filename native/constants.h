// The kernel's constants and the boundary's records, by name, for JavaScript.
#pragma once

#include <napi.h>

namespace postcopy {

Napi::Object MakeConstants(Napi::Env env);

}  // namespace postcopy
