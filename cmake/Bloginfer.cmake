# How targets are made here, so that a folder's CMakeLists.txt is a few lines.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

add_library(bi_flags INTERFACE)
target_compile_options(bi_flags INTERFACE -Wall -Wextra -Wshadow -Wvla -Wpointer-arith -Wstrict-prototypes
                       -Wno-missing-field-initializers)
target_compile_definitions(bi_flags INTERFACE _GNU_SOURCE BLOGINFER_VERSION="${PROJECT_VERSION}")
if(WERROR)
  target_compile_options(bi_flags INTERFACE -Werror)
endif()
if(SANITIZE)
  add_compile_options(-fsanitize=${SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SANITIZE})
endif()
if(FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
  add_custom_target(fuzz_targets) # all of them, and nothing else
endif()

# bi_library(NAME SOURCES a.c b.c LINK other_lib PKG jansson): a static library, used as #include "folder/x.h".
function(bi_library name)
  cmake_parse_arguments(A "" "" "SOURCES;LINK;PKG" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_link_libraries(${name} PRIVATE bi_flags PUBLIC ${A_LINK} Threads::Threads m)
  foreach(pkg ${A_PKG})
    if(NOT TARGET PkgConfig::${pkg})
      pkg_check_modules(${pkg} REQUIRED IMPORTED_TARGET GLOBAL ${pkg})
    endif()
    target_link_libraries(${name} PUBLIC PkgConfig::${pkg})
  endforeach()
endfunction()

# bi_embed(VAR name file): sets VAR to a source that holds the file's bytes, for
# extern const char name[], name_end[];
function(bi_embed var name file)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${name}.S)
  add_custom_command(
    OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DIN=${file} -DOUT=${out} -DNAME=${name} -P ${CMAKE_SOURCE_DIR}/cmake/Embed.cmake
    DEPENDS ${file} ${CMAKE_SOURCE_DIR}/cmake/Embed.cmake VERBATIM)
  set_source_files_properties(${out} PROPERTIES OBJECT_DEPENDS ${file})
  set(${var} ${out} PARENT_SCOPE)
endfunction()

# bi_program(bloginfer-x CORE): main.c of the current folder over its library CORE.
function(bi_program name core)
  add_executable(${name} main.c)
  target_link_libraries(${name} PRIVATE bi_flags ${core})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  install(TARGETS ${name} RUNTIME DESTINATION bin)
endfunction()

# The instruction sets of lib/base/isa.h: what kernels are compiled for here, those with dot products of bytes and of
# BF16 apart, and for each the compiler's flags and what stands for them under SIMDe.
set(bi_isas portable)
set(bi_vnni_isas)
set(bi_bf16_isas)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND bi_isas avx2 avx512)
  set(bi_vnni_isas avx2vnni avx512vnni)
  set(bi_bf16_isas avx512bf16)
endif()
set(bi_isa_flags_avx2 -mavx2 -mfma)
set(bi_isa_flags_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mprefer-vector-width=512)
set(bi_isa_flags_avx2vnni ${bi_isa_flags_avx2} -mavxvnni)
set(bi_isa_flags_avx512vnni ${bi_isa_flags_avx512} -mavx512vnni)
set(bi_isa_flags_avx512bf16 ${bi_isa_flags_avx512} -mavx512bf16)
set(bi_isa_simde_portable SIMD_BYTES=16)
set(bi_isa_simde_avx2 SIMD_BYTES=32)
set(bi_isa_simde_avx512 SIMD_BYTES=64)
set(bi_isa_simde_avx2vnni SIMD_BYTES=32 SIMD_VNNI)
set(bi_isa_simde_avx512vnni SIMD_BYTES=64 SIMD_VNNI)
set(bi_isa_simde_avx512bf16 SIMD_BYTES=64 SIMD_BF16)

# bi_variants(nn SOURCES kernels.c matmul.c ISAS ${bi_isas}): sources of a target that are compiled once per instruction
# set, each with -DBI_ISA=avx2 or the like for base/simd.h. A target for tests that has been given the definition BI_SIMDE
# before gets emulated instructions, so that all variants run on any machine.
function(bi_variants target)
  cmake_parse_arguments(A "" "" "SOURCES;ISAS" ${ARGN})
  list(GET A_SOURCES 0 first)
  get_filename_component(first ${first} NAME_WE)
  get_target_property(definitions ${target} COMPILE_DEFINITIONS)
  foreach(isa ${A_ISAS})
    set(objects ${target}_${first}_${isa})
    add_library(${objects} OBJECT ${A_SOURCES})
    target_link_libraries(${objects} PRIVATE bi_flags)
    target_compile_definitions(${objects} PRIVATE BI_ISA=${isa} $<TARGET_PROPERTY:${target},COMPILE_DEFINITIONS>)
    target_include_directories(${objects} PRIVATE $<TARGET_PROPERTY:${target},INCLUDE_DIRECTORIES>)
    target_compile_options(${objects} PRIVATE -O3 -Wno-unknown-pragmas)
    if("BI_SIMDE" IN_LIST definitions)
      target_compile_definitions(${objects} PRIVATE ${bi_isa_simde_${isa}})
      target_compile_options(${objects} PRIVATE -Wno-psabi)
    else()
      target_compile_options(${objects} PRIVATE ${bi_isa_flags_${isa}})
    endif()
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${objects}>)
  endforeach()
endfunction()

# bi_test(round aggregator_core ...): round_test.c of the current folder, linked with these libraries, as a ctest.
# Tests run in the build folder and may use BLOGINFER_SOURCE_DIR.
function(bi_test name)
  bi_test_of(${name} ${name}_test.c ${ARGN})
endfunction()

# bi_test_of(kernels_simde kernels_test.c nn_simde ...): the same for a source that is tested with other libraries, too.
function(bi_test_of name source)
  if(NOT TARGET PkgConfig::cmocka)
    pkg_check_modules(cmocka REQUIRED IMPORTED_TARGET GLOBAL cmocka)
  endif()
  add_executable(${name}_test ${source})
  target_link_libraries(${name}_test PRIVATE bi_flags ${ARGN} PkgConfig::cmocka)
  target_compile_definitions(${name}_test PRIVATE BLOGINFER_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name}_test)
  set_tests_properties(${name} PROPERTIES TIMEOUT 300
    ENVIRONMENT "OPENBLAS_NUM_THREADS=1;OMP_NUM_THREADS=1;LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/lsan.supp;TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/tsan.supp:halt_on_error=1:ignore_noninstrumented_modules=1")
endfunction()

# bi_fuzz(cfg detector_network): cfg_fuzz.c, a libFuzzer target, when FUZZ is on (clang). cfg_fuzz.dict, the words of the
# format, may stand beside the source; cfg_fuzz.seeds/, the first inputs, comes from bi_seeds(). ./bloginfer fuzz uses both.
function(bi_fuzz name)
  bi_fuzz_of(${name} ${name}_fuzz.c ${ARGN})
endfunction()

# bi_fuzz_of(png image_fuzz.c detector_image): the same for a source of several targets.
function(bi_fuzz_of name source)
  if(FUZZ)
    add_executable(${name}_fuzz ${source})
    target_link_libraries(${name}_fuzz PRIVATE bi_flags ${ARGN})
    target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzz_targets ${name}_fuzz)
    if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${name}_fuzz.dict)
      configure_file(${name}_fuzz.dict ${name}_fuzz.dict COPYONLY)
    endif()
  endif()
endfunction()

# bi_seeds(image detector_image): image_seeds.c, which is run as soon as it is built and writes the folders X_fuzz.seeds of
# the targets of the current folder.
function(bi_seeds name)
  if(FUZZ)
    add_executable(${name}_seeds ${name}_seeds.c)
    target_link_libraries(${name}_seeds PRIVATE bi_flags ${ARGN})
    add_dependencies(fuzz_targets ${name}_seeds)
    add_custom_command(TARGET ${name}_seeds POST_BUILD COMMAND ${name}_seeds ${CMAKE_CURRENT_BINARY_DIR} VERBATIM)
  endif()
endfunction()
