"""Made `larq_quicknet.*` and `larq_xnor.*`: real Larq models through tf2onnx, in this script.

It does not run in the tests: TensorFlow and torch do not share an environment. To make them again:

    python -m venv tf
    tf/bin/pip install tensorflow-cpu==2.21.0 tf_keras larq==0.14.0 tf2onnx==1.17.0
    TF_USE_LEGACY_KERAS=1 tf/bin/python make_larq.py

Each `.npz` holds an input `x` [N, H, W, C] and Keras's own answer `y` [N, classes].
"""

from pathlib import Path

import larq as lq
import numpy as np
import tensorflow as tf
import tf2onnx

HERE = Path(__file__).parent
SIGN = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign"}


def quicknet() -> tf.keras.Model:
    """QuickNet's blocks (Bannink et al. 2021): one-padding, ReLU before batch norm, blur pools."""
    inputs = x = tf.keras.Input((16, 16, 3))
    x = tf.keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = tf.keras.layers.BatchNormalization(scale=False, center=False)(x)
    x = tf.keras.layers.Activation("relu")(x)
    x = tf.keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = tf.keras.layers.Conv2D(33, 1, use_bias=False)(x)
    x = tf.keras.layers.BatchNormalization()(x)
    for width in (33, 64):
        if x.shape[-1] != width:  # a transition: blur pool, then a real 1x1 convolution
            x = tf.keras.layers.Activation("relu")(x)
            x = tf.keras.layers.MaxPool2D(3, strides=1, padding="same")(x)
            x = tf.keras.layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(x)
            x = tf.keras.layers.Conv2D(width, 1, use_bias=False)(x)
            x = tf.keras.layers.BatchNormalization()(x)
        for _ in range(2):
            y = lq.layers.QuantConv2D(
                width, 3, padding="same", pad_values=1.0, use_bias=False, **SIGN
            )(x)
            y = tf.keras.layers.Activation("relu")(y)
            y = tf.keras.layers.BatchNormalization()(y)
            x = tf.keras.layers.add([x, y])
    x = tf.keras.layers.Activation("relu")(x)
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    x = tf.keras.layers.Dense(10)(x)
    return tf.keras.Model(inputs, tf.keras.layers.Activation("softmax")(x))


def xnor() -> tf.keras.Model:
    """XNOR-Net's form (Rastegari et al. 2016): weights ±s per channel, a binary dense layer."""
    scaled = {"input_quantizer": "ste_sign", "kernel_quantizer": "magnitude_aware_sign"}
    inputs = x = tf.keras.Input((16, 16, 3))
    x = tf.keras.layers.Conv2D(32, 5, strides=2, padding="same", activation="relu")(x)
    x = tf.keras.layers.MaxPool2D(2)(x)
    for width in (31, 65):
        x = tf.keras.layers.BatchNormalization()(x)
        x = lq.layers.QuantConv2D(width, 3, padding="same", use_bias=True, **scaled)(x)
    x = tf.keras.layers.MaxPool2D(2)(x)
    x = tf.keras.layers.BatchNormalization()(x)
    x = tf.keras.layers.Flatten()(x)
    x = lq.layers.QuantDense(64, use_bias=False, **SIGN)(x)
    x = tf.keras.layers.BatchNormalization()(x)
    x = tf.keras.layers.Activation("relu")(x)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(10)(x))


def randomise(model: tf.keras.Model) -> None:
    """Statistics and scales as training leaves them: of both signs, none at its initial value."""
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            for weight in layer.weights:
                low = 0.5 if "variance" in weight.name else -1.0
                weight.assign(generator.uniform(low, 1.5, weight.shape))


for make in (quicknet, xnor):
    tf.keras.utils.set_random_seed(0)
    net = make()
    randomise(net)
    signature = (tf.TensorSpec((1, 16, 16, 3), tf.float32, name="image"),)
    path = HERE / f"larq_{make.__name__}.onnx"
    tf2onnx.convert.from_keras(net, signature, opset=17, output_path=str(path))
    x = np.random.default_rng(1).standard_normal((1, 16, 16, 3)).astype(np.float32)
    np.savez(path.with_suffix(".npz"), x=x, y=net(x).numpy())
