-- template version 1: defaults
-- sha256 of the function 0e83a67a343e532859d77a2c3f83e37d25b155881aaa2325a10bf4addebbc084;

-- template version 1: all families
-- sha256 of the function 1eec33ec2a12f9338c7307ec89233560e4c375102e9f3b6cfac6a308f0de2a8d;

-- template version 1: every option, awkward names
-- sha256 of the function fe73ebf1eafb726b6a75c1e45600eae9dbf27b9394172976cb0ed716a150c059;

-- template version 1: hashed name, key of two, one operation
-- sha256 of the function 2e680668e7ed182158bf5525d00c701dc062848471c65a6495df641ae3f712bf;

-- template version 1: discriminator
-- sha256 of the function 926449ef4656ba620f24b9f6557e28acd71ba260c9eada5acd9c285cf976fc0f;

-- template version 1: discriminator of another table
-- sha256 of the function c71c7edf00c5d55c3862ac70c3a848498cfdcfdea8b393f315156905e2db29ed;

-- template version 1: computed
-- sha256 of the function 8fcf75c3d1c1fa1fc8c85622985f32d0166a5e0a57da79f4fa00031d401459ee;

-- template version 1: durable
-- sha256 of the function df7b8e184f9abe998e98714bbea4ef363a565bf19010c8f3b37e6727066e3268;

-- template version 1: durable, the log elsewhere, a condition
-- sha256 of the function 32fb14caa73349d9b6b453f28e29c0e1c1d01488fd41ec50857aaa67980362e5;

-- template version 1: more columns than a SELECT takes
-- sha256 of the function 68d9d5d6741c40bca242eaac743715a441179442cfe608b33d3854b7ee8e086d;
