# What is outside of the mount, as the problem document (RFC 9457) that a worker would write.
lambda do |env|
  id = env["HTTP_X_REQUEST_ID"].to_s
  id = sprintf("%x-%08x", (Time.now.to_f * 1000000).to_i, rand(4294967296)) unless /\A[A-Za-z0-9._-]{1,64}\z/.match(id)
  body = %({"type":"about:blank","title":"Not Found","status":404,"detail":"nothing is here","instance":"#{id}"}\n)
  [404, {"content-type" => "application/problem+json", "x-request-id" => id}, [body]]
end
