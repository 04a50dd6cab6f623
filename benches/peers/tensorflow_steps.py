"""The workloads in TensorFlow, one graph a step, trained from gradc's weights. Parameters are a table by gradc's paths; the
running averages of batch norm, which no loss reads, are left out."""
import math

import tensorflow as tf


def dense(w, path, x):
    kernel = w[f"{path}.w"]
    y = tf.matmul(tf.reshape(x, [-1, kernel.shape[0]]), kernel) + w[f"{path}.b"]
    return tf.reshape(y, [*x.shape[:-1], kernel.shape[1]])


def layer_norm(w, path, x):
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, w[f"{path}.shift"], w[f"{path}.scale"], 1e-5)


def mlp(w, x):
    for i in range(2):
        x = tf.nn.relu(dense(w, f"classifier.dense.{i}", x))
    return dense(w, "classifier.dense.2", x)


def cnn(w, x):
    for i in range(5):
        path = f"classifier.stage.{i}"
        x = tf.nn.bias_add(tf.nn.conv2d(x, w[f"{path}.conv.w"], 1, "SAME"), w[f"{path}.conv.b"])
        scale, shift = w[f"{path}.batch_norm.scale"], w[f"{path}.batch_norm.shift"]
        x = tf.nn.relu(tf.compat.v1.nn.fused_batch_norm(x, scale, shift, epsilon=1e-5)[0])
        if i in (1, 3):
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
    return dense(w, "classifier.dense", tf.reduce_mean(x, [1, 2]))


def gpt(depth, heads):
    def block(w, path, x):
        b, t, d = x.shape
        attention, inner = f"{path}.self_attention.0.masked_attention", layer_norm(w, f"{path}.layer_norm.0", x)
        q, k, v = (tf.transpose(tf.reshape(dense(w, f"{attention}.{name}", inner), [b, t, heads, d // heads]), [0, 2, 1, 3])
                   for name in "qkv")
        seen = tf.linalg.band_part(tf.ones([t, t], tf.bool), -1, 0)
        scores = tf.where(seen, tf.matmul(q, k, transpose_b=True) / math.sqrt(d // heads), -1e9)
        y = tf.reshape(tf.transpose(tf.matmul(tf.nn.softmax(scores), v), [0, 2, 1, 3]), [b, t, d])
        x = x + dense(w, f"{attention}.out", y)
        inner = tf.nn.gelu(dense(w, f"{path}.dense.0", layer_norm(w, f"{path}.layer_norm.1", x)))
        return x + dense(w, f"{path}.dense.1", inner)

    def network(w, x):
        x = tf.gather(w["gpt.embedding.table"], x) + w["gpt.learned_positions.table"]
        for i in range(depth):
            x = block(w, f"gpt.encoder_block.{i}", x)
        return tf.reshape(dense(w, "gpt.dense", layer_norm(w, "gpt.layer_norm", x)), [-1, 65])

    return network


def lstm(w, x):
    inputs = tf.transpose(tf.gather(w["model.embedding.table"], x), [1, 0, 2])
    inputs = tf.matmul(tf.reshape(inputs, [-1, 128]), w["model.lstm.wx"]) + w["model.lstm.bias"]
    n_steps, b = x.shape[1], x.shape[0]
    inputs, outputs = tf.reshape(inputs, [n_steps, b, 1024]), tf.TensorArray(tf.float32, n_steps, element_shape=[b, 256])

    def turn(t, h, c, outputs):
        i, f, g, o = tf.split(inputs[t] + tf.matmul(h, w["model.lstm.wh"]), 4, -1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        return t + 1, h, c, outputs.write(t, h)

    zeros = tf.zeros([b, 256])
    carried = (tf.constant(0), zeros, zeros, outputs)
    outputs = tf.while_loop(lambda t, *_: t < n_steps, turn, carried, maximum_iterations=n_steps)[-1].stack()
    return tf.reshape(dense(w, "model.dense", tf.transpose(outputs, [1, 0, 2])), [-1, 65])


NETWORKS = {"mlp-seed": mlp, "mlp-large": mlp, "cnn": cnn, "gpt-nano": gpt(4, 4), "gpt-mini": gpt(6, 6), "lstm": lstm}


def trainer(workload, before, batches, threads, with_xla):
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    network = NETWORKS[workload]
    trained = {path: value for path, value in before.items() if not path.endswith((".average", ".spread"))}
    variables = {path: tf.Variable(value) for path, value in trained.items()}
    moments = {path: (tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for path, v in variables.items()}
    t = tf.Variable(0.0)

    @tf.function(jit_compile=with_xla)
    def train(x, y):
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, network(variables, x))
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, variables)
        t.assign_add(1.0)
        for path, variable in variables.items():
            # The kernel of Adam that TensorFlow's own optimizers had before Keras 3: all of a variable in one pass. It adds
            # epsilon before the second moment's bias is taken off (section 2 of Kingma and Ba 2014), hence the factor.
            m, v = moments[path]
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle, m=m.handle, v=v.handle, beta1_power=tf.pow(0.9, t), beta2_power=tf.pow(0.999, t),
                lr=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8 * tf.sqrt(1 - tf.pow(0.999, t)), grad=tf.convert_to_tensor(gradients[path]))
        return loss

    data = [(tf.constant(x), tf.constant(y)) for x, y in batches]
    last = [None]

    def step(i):
        last[0] = train(*data[i % len(data)])
        return last[0]

    return step, lambda: last[0].numpy()
